// Logs, whole or selected, and what others saw of them (docs/formats/evidence.md, 5 and 7).
// Not for: what the entries must say of a run (provenance.mjs). Order of calls: readWitnessed, checkLogs, checkWitnessed.

import { base64, canonical, exactly, list, malformed, object, parseSpelled, text, whole } from './plain.mjs'
import { checkpoint, isConsistent, isCosignedBy, isIncluded, isSignedBy, leafHash, note, splitLines, treeHash } from './signed.mjs'

const MAX_ENTRY = 65535
const FIELDS = ['at', 'data', 'party', 'refs', 'type', 'v']

const afterSlash = origin => origin.slice(origin.lastIndexOf('/') + 1)

export function hashes (value) {
  const found = list(value).map(base64)
  return found.every(hash => hash.length === 32) ? found : malformed('a hash of another length')
}

export function readEntry (bytes) {
  if (bytes.length < 1 || bytes.length > MAX_ENTRY || !bytes.every(byte => byte >= 0x20 && byte <= 0x7e && byte !== 0x5c)) malformed('an entry that is not plain')
  const entry = exactly(parseSpelled(bytes), FIELDS)
  if (entry.v !== 1) malformed('an entry of another version')
  for (const written of [entry.at, entry.type, entry.party, ...Object.values(object(entry.refs))]) text(written)
  object(entry.data)
  return entry
}

// The head in the note, which this party signed as its own log's.
function headOf (bytes, party) {
  const found = note(bytes)
  const head = checkpoint(found)
  if (afterSlash(head.origin) !== party.name || !isSignedBy(found, head.origin, party.raw)) malformed(`a head that ${party.name} did not sign`)
  return { ...head, note: found }
}

function wholeLines (bytes) {
  if (bytes.length > 0 && bytes.at(-1) !== 10) malformed('a line without its end')
  return splitLines(bytes)
}

// By party: head, and the entries that are here as [index, entry]; for a whole log its leaves too.
export function checkLogs ({ members, scope, parties }) {
  const logs = new Map()
  const kind = scope.kind === 'all' ? 'jsonl' : 'selected.jsonl'
  for (const name of members.keys()) {
    if (!name.startsWith('logs/')) continue
    const [, party, ending] = /^logs\/([^/]+?)\.(jsonl|selected\.jsonl|checkpoint)$/.exec(name) ?? malformed('no log')
    if (!parties.has(party) || ![kind, 'checkpoint'].includes(ending)) malformed(`${name} is no log of this scope`)
    const [head, lines] = ['checkpoint', kind].map(end => members.get(`logs/${party}.${end}`) ?? malformed('half a log'))
    if (ending === 'checkpoint') logs.set(party, readLog(headOf(head, parties.get(party)), wholeLines(lines), scope.kind === 'all'))
  }
  for (const [party, log] of logs) if (log.entries.some(([, entry]) => entry.party !== party)) malformed('an entry of another party')
  if (new Set([...logs.values()].map(({ head }) => head.origin.replace(/[^/]*$/, ''))).size > 1) malformed('logs of several studies')
  return logs.size > 0 ? logs : malformed('no log')
}

function readLog (head, lines, isWhole) {
  if (isWhole) {
    const leaves = lines.map(leafHash)
    if (head.size !== leaves.length || !head.root.equals(treeHash(leaves))) malformed('another log than its head')
    return { head, leaves, entries: lines.map((line, index) => [index, readEntry(line)]) }
  }
  let last = -1
  return {
    head,
    entries: lines.map(line => {
      const { entry, index, proof } = exactly(parseSpelled(line), ['entry', 'index', 'proof'])
      const bytes = canonical(entry)
      if (whole(index) <= last || !isIncluded(index, head.size, leafHash(bytes), hashes(proof), head.root)) malformed('an entry that is not proven')
      last = index
      return [index, readEntry(bytes)]
    })
  }
}

// Heads that parties saw of each other's logs, signed by both.
export function readWitnessed ({ members, parties }) {
  const found = []
  for (const [name, bytes] of members) {
    if (!name.startsWith('witnessed/')) continue
    const [, witness, party, ending] = /^witnessed\/([^/]+)\/([^/]+)\.(checkpoint|consistency)$/.exec(name) ?? malformed('witnessed')
    if (witness === party || !parties.has(witness) || !parties.has(party)) malformed(`${name} is not between two parties`)
    const consistency = `witnessed/${witness}/${party}.consistency`
    if (ending === 'consistency') {
      if (!members.has(`witnessed/${witness}/${party}.checkpoint`)) malformed('a proof of nothing')
      continue
    }
    const head = headOf(bytes, parties.get(party))
    if (!isCosignedBy(head.note, head.origin.replace(/[^/]*$/, witness), parties.get(witness).raw)) malformed(`${name} is not cosigned`)
    found.push({ party, head, proof: members.get(consistency) })
  }
  return found
}

export function checkWitnessed ({ scope, witnessed, logs, convicted }) {
  for (const { party, head, proof } of witnessed) {
    const log = logs.get(party)
    const needsProof = log !== undefined && scope.kind !== 'all'
    if ((proof !== undefined) !== needsProof) malformed('a proof that is missing or not needed')
    if (log === undefined) continue
    const path = needsProof ? readProof(proof) : null
    const continues = head.origin === log.head.origin && head.size <= log.head.size && (path === null
      ? head.root.equals(treeHash(log.leaves.slice(0, head.size)))
      : isConsistent(head.size, log.head.size, path, head.root, log.head.root))
    if (!continues && !convicted.has(head.origin)) malformed(`${party} signed two histories`)
  }
}

function readProof (bytes) {
  return bytes.at(-1) === 10 ? hashes(parseSpelled(bytes.subarray(0, -1))) : malformed('a proof without its newline')
}

// Who says what of each run: for (run, name, value) the parties whose logs do.
export class Mentions {
  constructor (logs) {
    this.byKey = new Map()
    this.all = []
    for (const [party, { entries }] of logs) {
      for (const [, { refs }] of entries) {
        if (!('run' in refs)) continue
        for (const [name, value] of Object.entries(refs)) {
          const key = canonical([refs.run, name, value]).toString()
          if (!this.byKey.has(key)) this.byKey.set(key, new Set())
          this.byKey.get(key).add(party)
          this.all.push({ run: refs.run, name, value, party })
        }
      }
    }
  }

  parties (run, name, value) {
    return this.byKey.get(canonical([run, name, value]).toString()) ?? new Set()
  }
}

