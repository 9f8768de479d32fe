// Proofs of misbehaviour, written from docs/formats/misbehaviour.md: does what a party signed convict it?
// Not for: finding misbehaviour. Order of calls: checkMisbehaviour, or convicts(kind, origin, raw key, evidence).

import { hashes, readEntry } from './logs.mjs'
import { base64, digest, exactly, field, list, malformed, object, parseSpelled, text, whole } from './plain.mjs'
import { checkpoint, isConsistent, isGood, isIncluded, isSignedBy, leafHash, note } from './signed.mjs'

const SHOWING = ['offer', 'cohort', 'kems', 'secrets', 'step', 'count', 'readies', 'judge', 'finish', 'join', 'kem', 'ready']
const [MAX_HEADER, MAX_PROOF] = [4 * 2 ** 20, 64]
const afterSlash = origin => origin.slice(origin.lastIndexOf('/') + 1)

export function checkMisbehaviour ({ members, chain }) {
  const convicted = new Set()
  for (const [name, bytes] of members) {
    if (!name.startsWith('misbehaviour/')) continue
    const proof = exactly(parseSpelled(bytes), ['schema', 'kind', 'origin', 'evidence'])
    const accused = afterSlash(text(proof.origin))
    const owned = chain.flatMap(one => one.holders).filter(one => one.isParty && one.name === accused)   // whatever key it had
    if (name !== `misbehaviour/${digest(bytes).slice(7, 23)}.json` || proof.schema !== 'sekisho-misbehaviour/1' || owned.length === 0) malformed('no proof')
    if (!owned.some(one => convicts(proof.kind, proof.origin, one.raw, proof.evidence))) malformed(`${name} convicts nobody`)
    if (proof.kind !== 'withheld') convicted.add(proof.origin)
  }
  return convicted
}

export function convicts (kind, origin, raw, evidence) {
  try {
    const judge = { fork, rollback, inconsistent, withheld, disowned }[kind]
    return judge !== undefined && judge(list(evidence), { origin, raw })
  } catch {
    return false
  }
}

function fork (evidence, accused) {
  const [one, other] = exactlyMany(evidence, 2).map(piece => signedHead(text(exactly(piece, ['note']).note), accused))
  return one.size === other.size && !one.root.equals(other.root)
}

function rollback (evidence, accused) {
  const [before, after] = inOneRun(evidence, accused)
  return before.number < after.number && after.head.size < before.head.size
}

function inconsistent (evidence, accused) {
  const [before, after] = inOneRun(evidence, accused)
  return after.number === before.number + 1 && denies(before.head, after)
}

function withheld (evidence, accused) {
  const [said] = exactlyMany(evidence, 1).map(readMessage)
  if (!isSaidBy(said, accused) || !SHOWING.includes(said.kind)) return false
  const shown = shownBy(said, accused)
  return shown === null || !owedBy(said).every(debt => isMet(shown, debt))
}

function disowned (evidence, accused) {
  const [said, ...rest] = evidence.map(readMessage)
  const shown = shownBy(said, accused)
  if (shown === null || !isSaidBy(said, accused)) return false
  let cohort = said
  if (said.kind === 'kem') {
    cohort = rest.shift()
    if (cohort.digest !== shown.answers) return false
  }
  if (cohort.kind !== 'cohort' || rest.length > 1) return false
  const [join] = rest
  if (join === undefined && cohort === said) return false
  if (join !== undefined && (join.kind !== 'join' || partOf(cohort, `join:${join.header.sender}`) !== digest(join.bytes))) return false
  const seen = field(field(field((join ?? cohort).header, 'log'), 'seen'), afterSlash(accused.origin))
  return denies(signedHead(text(seen), accused), shown)
}

const exactlyMany = (evidence, number) => evidence.length === number ? evidence : malformed('number of pieces')

function inOneRun (evidence, accused) {
  const messages = exactlyMany(evidence, 2).map(readMessage)
  if (!messages.every(said => isSaidBy(said, accused)) || messages[0].header.run !== messages[1].header.run) malformed('not two of one run')
  return messages.map(said => shownBy(said, accused) ?? malformed('shows no head'))
}

function signedHead (source, { origin, raw }) {
  const found = note(Buffer.from(source.isWellFormed() ? source : malformed('half a character')))
  const head = checkpoint(found)
  return head.origin === origin && isSignedBy(found, origin, raw) ? head : malformed('not a head of this log')
}

function readMessage (piece) {
  const bytes = base64(exactly(piece, ['message']).message)
  const length = bytes.readUInt32LE(4)
  if (bytes.toString('latin1', 0, 4) !== 'SKM1' || length > MAX_HEADER || bytes.length !== 8 + length + 64) malformed('a message')
  const written = bytes.subarray(8, 8 + length)
  const header = object(parseSpelled(written))
  if (field(header, 'version') !== 2) malformed('an earlier message')
  for (const name of ['study', 'run', 'sender']) if (text(field(header, name)) === '') malformed('a message of nobody')
  for (const part of list(field(header, 'parts'))) {
    text(field(part, 'name'))
    text(field(part, 'digest'))
  }
  return { bytes, written, signature: bytes.subarray(8 + length), header, kind: text(field(field(header, 'body'), 'kind')), digest: digest(written) }
}

const isSaidBy = (said, { origin, raw }) => `sekisho.example/${said.header.study}/${said.header.sender}` === origin &&
  isGood(raw, said.signature, Buffer.concat([Buffer.from('sekisho-message-v1\0'), said.written]))

const partOf = (said, name) => said.header.parts.find(part => part.name === name)?.digest ?? ''

function path (value) {
  const found = hashes(value)
  return found.length <= MAX_PROOF ? found : malformed('a proof that is too long')
}

function shownBy (said, accused) {
  try {
    const log = field(said.header, 'log')
    const [number, written, continued, entries, seen, answers] = ['number', 'note', 'continued', 'entries', 'seen', 'answers'].map(name => field(log, name))
    if (whole(number) < 0) malformed('number')
    Object.values(object(seen)).forEach(text)
    return {
      number,
      head: signedHead(text(written), accused),
      continued: new Map(Object.entries(object(continued)).map(([size, proof]) => [/^[0-9]+$/.test(size) ? size : malformed('a size'), path(proof)])),
      entries: list(entries).map(one => ({ index: whole(field(one, 'index')), bytes: wellFormed(text(field(one, 'entry'))), proof: path(field(one, 'proof')) })),
      answers: answers === null ? '' : text(answers)
    }
  } catch {
    return null
  }
}

const wellFormed = source => Buffer.from(source.isWellFormed() ? source : malformed('half a character'))

function denies (old, { head, continued }) {
  if (old.size === head.size && old.root.equals(head.root)) return false
  const proof = old.size === 0 ? [] : continued.get(String(old.size)) ?? []
  return !isConsistent(old.size, head.size, proof, old.root, head.root)
}

function owedBy ({ header, kind, ...said }) {
  const { body, run } = header
  const debt = (type, refs, data) => [{ type, refs: { run, ...refs }, data }]
  if (kind === 'offer') return debt('study.offered', { study: text(field(body, 'study_bytes')) }, {})
  if (kind === 'cohort') return list(field(body, 'sites')).flatMap(site => debt('run.joined', { site: text(site) }, {}))
  if (!['step', 'count', 'finish'].includes(kind)) return []
  const step = whole(field(body, 'step')) - (kind === 'step' ? 1 : 0)
  switch (field(body, 'previous')) {
    case 'summed': return debt('step.summed', { sum: partOf({ header, ...said }, 'sum') }, { step })
    case 'abandoned': return debt('step.abandoned', {}, { step })
  }
  if (kind === 'step' && step > 0) return debt('validation.opened', {}, { step })
  if (kind === 'count' && whole(field(body, 'number')) > 1) return debt('validation.opened', {}, { count: body.number - 1 })
  return []
}

const isMet = (shown, debt) => shown.entries.some(({ index, bytes, proof }) => {
  try {
    const entry = readEntry(bytes)
    const holds = (found, wanted) => Object.entries(wanted).every(([name, value]) => found[name] === value)
    return isIncluded(index, shown.head.size, leafHash(bytes), proof, shown.head.root) &&
      entry.type === debt.type && holds(entry.refs, debt.refs) && holds(entry.data, debt.data)
  } catch {
    return false
  }
})
