// The functions of the second verifier over standard input and output, for tests that ask thousands of times.
//
// A request is 4 bytes of length and JSON {"do", ...}, then 4 bytes of length and bytes (lengths big endian); the answer
// is one line of JSON, {"answer"} or {"refused"}. Requests are answered in order until the input ends.

import { readSync, writeSync } from 'node:fs'

import { base64, canonical, parse, parseSpelled, time, yaml } from './plain.mjs'
import { convicts } from './misbehaviour.mjs'
import { readRoster, requester } from './papers.mjs'
import { checkpoint, envelope, isConsistent, isCosignedBy, isGood, isIncluded, isSignedBy, isStrongKey, leafHash, note, noteKeyId, preAuthentication, signersOf, splitLines, treeHash } from './signed.mjs'
import { verdict } from './verify.mjs'

const hash = encoded => Buffer.from(encoded, 'base64')

const functions = {
  verdict: ({ root }, bytes) => verdict(bytes, root),
  canonical: (_, bytes) => canonical(parse(bytes)).toString('base64'),
  // with fractions, as the published vectors have them: a bundle refuses these
  canonicalWithFractions: (_, bytes) => canonical(JSON.parse(bytes.toString())).toString('base64'),
  number: ({ bits }) => JSON.stringify(Buffer.from(bits, 'hex').readDoubleBE()),
  parseSpelled: (_, bytes) => canonical(parseSpelled(bytes)).toString('base64'),
  base64: ({ text }) => base64(text).toString('hex'),
  time: ({ text }) => time(text).toString(),
  yaml: (_, bytes) => canonical(yaml(bytes)).toString('base64'),
  requester: (_, bytes) => requester(bytes),
  roster: (_, bytes) => {
    const { holders, roles, version, fingerprint, supersedes, demo, created, expires } = readRoster(bytes)
    return {
      holders: holders.map(one => [one.raw.toString('hex'), one.name, one.isParty ? [one.kind] : one.roles, one.actsFor, one.isParty]),
      roles: Object.fromEntries(roles), version, fingerprint, supersedes, demo, created: String(created), expires: String(expires)
    }
  },
  strong: ({ key }) => isStrongKey(Buffer.from(key, 'hex')),
  signature: ({ key, signature }, bytes) => isGood(Buffer.from(key, 'hex'), Buffer.from(signature, 'hex'), bytes),
  inclusion: ({ index, size, leaf, proof, root }) => isIncluded(index, size, hash(leaf), proof.map(hash), hash(root)),
  consistency: ({ first, second, proof, roots }) => isConsistent(first, second, proof.map(hash), ...roots.map(hash)),
  root: (_, bytes) => treeHash(splitLines(bytes).map(leafHash)).toString('hex'),
  tree: ({ leaves }) => treeHash(leaves.map(leaf => leafHash(Buffer.from(leaf, 'hex')))).toString('hex'),
  pae: ({ type }, bytes) => preAuthentication(type, bytes).toString('base64'),
  envelope: ({ key }, bytes) => {
    const found = envelope(bytes)
    const holders = key === undefined ? [] : [{ raw: Buffer.from(key, 'hex') }]
    return { type: found.type, payload: found.payload.toString('base64'), signed: signersOf(found, holders).length }
  },
  note: (_, bytes) => {
    const found = note(bytes)
    return { text: found.text, signatures: found.signatures.map(one => [one.name, one.id.toString('hex'), one.value.toString('base64')]) }
  },
  checkpoint: (_, bytes) => {
    const { origin, size, root } = checkpoint(note(bytes))
    return [origin, size, root.toString('base64')]
  },
  noteKeyId: ({ name, kind, key }) => noteKeyId(name, kind, Buffer.from(key, 'hex')).toString('hex'),
  signed: ({ name, key }, bytes) => isSignedBy(note(bytes), name, Buffer.from(key, 'hex')),
  cosigned: ({ name, key }, bytes) => isCosignedBy(note(bytes), name, Buffer.from(key, 'hex')),
  convicts: ({ kind, origin, key, evidence }) => convicts(kind, origin, Buffer.from(key, 'hex'), evidence)
}

function read (size) {
  const found = Buffer.alloc(size)
  for (let at = 0; at < size;) {
    let count
    try {
      count = readSync(0, found, at, size - at)
    } catch (error) {
      if (error.code === 'EAGAIN') continue
      throw error
    }
    if (count === 0) process.exit(0)
    at += count
  }
  return found
}

const frame = () => read(read(4).readUInt32BE())

for (;;) {
  const request = JSON.parse(frame().toString())
  const bytes = frame()
  let answer
  try {
    answer = { answer: functions[request.do](request, bytes) }
  } catch (error) {
    answer = { refused: `${error.name}: ${error.message}` }
  }
  writeSync(1, JSON.stringify(answer) + '\n')
}
