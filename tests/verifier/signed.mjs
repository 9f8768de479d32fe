// What is signed and what is proven: Ed25519, DSSE envelopes and in-toto statements, C2SP notes, RFC 6962 trees.
// Written from docs/formats/evidence.md, RFC 8032, RFC 9162 and the pages of DSSE and C2SP; nothing of it is shipped.
// Not for: whose key it is and what must be signed (verify.mjs).

import { createPublicKey, verify } from 'node:crypto'

import { base64, base64Either, canonical, exactly, field, isDigest, list, malformed, object, parse, parseSpelled, sha256, text, utf8 } from './plain.mjs'

export const PAYLOAD_TYPE = 'application/vnd.in-toto+json'
const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1'
export const ATTESTATION = 'urn:sekisho:attestation:'
const [MAX_SIGNATURES, MAX_ENVELOPES, MAX_LINES] = [64, 256, 128]
const NEWLINE = 0x0a

// --- Ed25519 ---------------------------------------------------------------------------------------------------

const PRIME = 2n ** 255n - 19n
// The y of the points of small order, as RFC 8032 (5.1.2) encodes them: anybody can sign under such a key.
const SMALL_ORDER = [
  0n, 1n, PRIME - 1n,
  ...['26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05', 'c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a']
    .map(hex => BigInt('0x' + Buffer.from(hex, 'hex').reverse().toString('hex')))
]

export function isStrongKey (raw) {
  if (raw.length !== 32) return false
  const y = BigInt.asUintN(255, BigInt('0x' + Buffer.from(raw).reverse().toString('hex')))
  return y < PRIME && !SMALL_ORDER.includes(y)
}

const keys = new Map()

export function isGood (raw, signature, data) {
  const name = raw.toString('hex')
  if (raw.length !== 32) malformed('a key')
  if (!keys.has(name)) keys.set(name, createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') }, format: 'jwk' }))
  return signature.length === 64 && verify(null, data, keys.get(name), signature)
}

export const keyId = raw => sha256('ed25519', raw).toString('hex').slice(0, 32)

// --- DSSE ------------------------------------------------------------------------------------------------------

const isAscii = value => /^[\u0000-\u007f]*$/.test(value) // eslint-disable-line no-control-regex

export function envelope (bytes) {
  const value = object(parse(bytes))
  const signatures = list(field(value, 'signatures')).map(one => ({
    keyId: text(object(one).keyid ?? (one.keyid === null ? malformed('a key id') : '')), value: base64Either(field(one, 'sig'))
  }))
  if (signatures.length < 1 || signatures.length > MAX_SIGNATURES) malformed('number of signatures')
  const type = text(field(value, 'payloadType'))
  if (![type, ...signatures.map(one => one.keyId)].every(isAscii)) malformed('a payload type or key id beyond ASCII')
  return { type, payload: base64Either(field(value, 'payload')), signatures }
}

export function splitLines (bytes) {
  const lines = []
  for (let begin = 0; begin < bytes.length;) {
    const end = bytes.indexOf(NEWLINE, begin)
    lines.push(bytes.subarray(begin, end < 0 ? bytes.length : end))
    begin = end < 0 ? bytes.length : end + 1
  }
  return lines
}

export function envelopes (bytes) {
  const lines = splitLines(bytes)
  return lines.length > MAX_ENVELOPES ? malformed('number of envelopes') : lines.map(envelope)
}

export const preAuthentication = (type, payload) =>
  Buffer.concat([Buffer.from(`DSSEv1 ${Buffer.byteLength(type)} ${type} ${payload.length} `), payload])

// Which of these holders (each with `raw`) signed it; a key id is a hint only.
export function signersOf (envelope, holders) {
  const signed = preAuthentication(envelope.type, envelope.payload)
  return holders.filter(holder => envelope.signatures.some(one =>
    (one.keyId === '' || one.keyId === keyId(holder.raw)) && isGood(holder.raw, one.value, signed)))
}

export function statement (envelope) {
  if (envelope.type !== PAYLOAD_TYPE) malformed('another type of payload')
  const value = exactly(parseSpelled(envelope.payload), ['_type', 'subject', 'predicateType', 'predicate'])
  if (value._type !== STATEMENT_TYPE || list(value.subject).length === 0) malformed('not an in-toto statement')
  object(value.predicate)
  return value
}

// The digests of the subjects, as a set.
export function subjects (statement) {
  return new Set(statement.subject.map(subject => {
    exactly(subject, ['name', 'digest'])
    const found = 'sha256:' + text(exactly(subject.digest, ['sha256']).sha256)
    return isDigest(found) && text(subject.name) !== '' ? found : malformed('a subject')
  }))
}

// The envelope as it is written where it was made: RFC 8785, without its newline.
export const written = ({ type, payload, signatures }) => canonical({
  payload: payload.toString('base64'),
  payloadType: type,
  signatures: signatures.map(one => ({ keyid: one.keyId, sig: one.value.toString('base64') }))
})

// --- C2SP notes ------------------------------------------------------------------------------------------------

export function note (bytes) {
  const source = utf8(bytes)
  const gap = source.lastIndexOf('\n\n')
  if (gap < 0 || !source.endsWith('\n')) malformed('a note without signatures')
  const lines = source.slice(gap + 2).split('\n').slice(0, -1)
  if (lines.length < 1 || lines.length > MAX_LINES) malformed('number of signature lines')
  return {
    text: source.slice(0, gap + 1),
    signatures: lines.map(line => {
      const parts = line.split(' ')
      if (parts.length !== 3 || parts[0] !== '\u2014' || !/^[!-*,-~]+$/.test(parts[1])) malformed('a signature line')
      const raw = base64(parts[2])
      if (raw.length <= 4) malformed('a signature line without a signature')
      return { name: parts[1], id: raw.subarray(0, 4), value: raw.subarray(4) }
    })
  }
}

export function checkpoint (note) {
  const [origin, size, root, rest, ...more] = note.text.split('\n')
  if (rest !== '' || more.length !== 0 || !/^(0|[1-9][0-9]{0,15})$/.test(size) || !Number.isSafeInteger(+size)) malformed('a checkpoint')
  const hash = base64(root)
  return hash.length === 32 ? { origin, size: +size, root: hash } : malformed('a root')
}

export const noteKeyId = (name, kind, raw) => sha256(name, '\n', Buffer.of(kind), raw).subarray(0, 4)

// The lines that claim this key; each of them must hold, and there is one.
function holds (note, name, kind, raw, isLineGood) {
  const id = noteKeyId(name, kind, raw)
  const lines = note.signatures.filter(line => line.name === name && line.id.equals(id))
  return lines.length > 0 && lines.every(isLineGood)
}

export const isSignedBy = (note, name, raw) =>
  holds(note, name, 0x01, raw, line => isGood(raw, line.value, Buffer.from(note.text)))

export const isCosignedBy = (note, name, raw) => holds(note, name, 0x04, raw, ({ value }) =>
  value.length === 72 &&
  isGood(raw, value.subarray(8), Buffer.from(`cosignature/v1\ntime ${value.readBigUInt64BE()}\n${note.text}`)))

// --- RFC 6962 trees --------------------------------------------------------------------------------------------

export const leafHash = entry => sha256(Buffer.of(0), entry)
const node = (left, right) => sha256(Buffer.of(1), left, right)

// RFC 6962, 2.1, by its definition.
export function treeHash (leaves) {
  if (leaves.length === 0) return sha256()
  if (leaves.length === 1) return leaves[0]
  const left = 2 ** Math.floor(Math.log2(leaves.length - 1))
  return node(treeHash(leaves.slice(0, left)), treeHash(leaves.slice(left)))
}

const areHashes = hashes => hashes.every(hash => hash.length === 32)

// RFC 9162, 2.1.3.2
export function isIncluded (index, size, leaf, proof, root) {
  if (!(index >= 0 && index < size) || !areHashes([leaf, root, ...proof])) return false
  let [fn, sn, hash] = [BigInt(index), BigInt(size) - 1n, leaf]
  for (const sibling of proof) {
    if (sn === 0n) return false
    if (fn & 1n || fn === sn) {
      hash = node(sibling, hash)
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n]
    } else {
      hash = node(hash, sibling)
    }
    [fn, sn] = [fn >> 1n, sn >> 1n]
  }
  return sn === 0n && hash.equals(root)
}

// RFC 9162, 2.1.4.2; the sizes that the RFC leaves out are those for which nothing needs to be shown.
export function isConsistent (first, second, proof, firstRoot, secondRoot) {
  if (!(first >= 0 && first <= second) || !areHashes([firstRoot, secondRoot, ...proof])) return false
  if (first === 0) return proof.length === 0 && firstRoot.equals(sha256())
  if (first === second) return proof.length === 0 && firstRoot.equals(secondRoot)
  const path = isPowerOfTwo(first) ? [firstRoot, ...proof] : [...proof]
  if (proof.length === 0) return false
  let [fn, sn] = [BigInt(first) - 1n, BigInt(second) - 1n]
  while (fn & 1n) [fn, sn] = [fn >> 1n, sn >> 1n]
  let [old, whole] = [path[0], path[0]]
  for (const hash of path.slice(1)) {
    if (sn === 0n) return false
    if (fn & 1n || fn === sn) {
      [old, whole] = [node(hash, old), node(hash, whole)]
      while (!(fn & 1n) && fn !== 0n) [fn, sn] = [fn >> 1n, sn >> 1n]
    } else {
      whole = node(whole, hash)
    }
    [fn, sn] = [fn >> 1n, sn >> 1n]
  }
  return sn === 0n && old.equals(firstRoot) && whole.equals(secondRoot)
}

const isPowerOfTwo = size => (BigInt(size) & (BigInt(size) - 1n)) === 0n
