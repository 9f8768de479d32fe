// A second verifier of evidence bundles, in another language and by another hand: Node's standard library only, written
// from docs/formats/evidence.md and misbehaviour.md. It exists to disagree with verify.py, and is not shipped.
//
//     node verify.mjs evidence.zip [--root sha256:...]      prints {"verdict", "exit", "reason"} on one line
//
// Order of calls: verdict(bytes, root). The parts: container.mjs, plain.mjs, signed.mjs, papers.mjs, logs.mjs,
// misbehaviour.mjs, provenance.mjs; this file says in which order they are asked.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

import { members as containerMembers, NAME, NoBundle } from './container.mjs'
import { checkLogs, checkWitnessed, readWitnessed } from './logs.mjs'
import { checkMisbehaviour } from './misbehaviour.mjs'
import { checkPapers, checkRosters, readRoster } from './papers.mjs'
import { canonical, digest, exactly, field, isDigest, malformed, object, parse, parseSpelled, text, time } from './plain.mjs'
import { checkProvenance, checkSubject } from './provenance.mjs'
import { ATTESTATION, PAYLOAD_TYPE, envelope, signersOf, statement, subjects } from './signed.mjs'

export const EXITS = { verified: 0, consistent: 1, 'other-root': 4, changed: 5, unusable: 6 }
const SCHEMA = 'sekisho-evidence/3'
const REQUIRED = ['manifest.json', 'manifest.json.dsse.json', 'README.txt', 'verify.py', 'roster.yaml', 'roster.yaml.dsse.json', 'study.yaml']
const KNOWN = [
  /^manifest\.json(\.dsse\.json)?$/, /^README\.txt$/, /^verify\.py$/,
  /^(roster|study|base-model|rosters\/[0-9]+|policies\/[^/]+)\.yaml(\.dsse\.json)?$/,
  /^logs\/[^/]+\.(jsonl|checkpoint)$/, /^witnessed\/[^/]+\/[^/]+\.(checkpoint|consistency)$/,
  /^misbehaviour\/[0-9a-f]{16}\.json$/, /^provenance\/[^/]+\.dsse\.json$/, /^views\/.+$/
]
const SUBJECT = 'subject/request.json'

export function verdict (bytes, root = null) {
  try {
    return said(judge(bytes, root), '')
  } catch (error) {
    return said(error instanceof NoBundle ? 'unusable' : 'changed', error.message)
  }
}

const said = (name, reason) => ({ verdict: name, exit: EXITS[name], reason })

function judge (bytes, root) {
  if (root !== null && !isDigest(root)) throw new NoBundle('no fingerprint')
  const members = containerMembers(bytes)
  if (!members.has('manifest.json') && !members.has('manifest.json.dsse.json')) throw new NoBundle('no manifest')
  const scope = readManifest(members)
  const roster = readRoster(members.get('roster.yaml'))
  const exporter = manifestSigner(members, roster)
  if (scope.kind === 'subject' && exporter !== scope.of) malformed('a subject request that the site did not sign')
  const context = { members, scope, roster, parties: new Map(roster.holders.filter(one => one.isParty).map(one => [one.name, one])) }
  context.chain = checkRosters(members, roster)
  context.fingerprints = new Set(context.chain.map(one => one.fingerprint))
  context.papers = checkPapers(members, roster)
  context.witnessed = readWitnessed(context)
  context.logs = checkLogs(context)
  context.convicted = checkMisbehaviour(context)
  checkWitnessed(context)
  checkProvenance(context)
  if (scope.kind === 'subject') checkSubject(context)
  return root === null ? 'consistent' : root === roster.fingerprint ? 'verified' : 'other-root'
}

function readManifest (members) {
  for (const name of REQUIRED) if (!members.has(name)) malformed(`${name} is missing`)
  const bytes = members.get('manifest.json')
  if (field(parse(bytes), 'schema') !== SCHEMA) throw new NoBundle('another schema')
  const manifest = exactly(parseSpelled(bytes), ['schema', 'scope', 'members'])
  const listed = new Map(Object.entries(object(manifest.members)))
  for (const [name, data] of members) {
    if (name === 'manifest.json' || name === 'manifest.json.dsse.json') continue
    if (listed.get(name) !== digest(data)) malformed(`${name} is not what the manifest lists`)
    listed.delete(name)
  }
  if (listed.size > 0) malformed('the manifest lists more')
  const scope = readScope(manifest.scope)
  for (const name of members.keys()) {
    if (!KNOWN.some(form => form.test(name)) && !(name === SUBJECT && scope.kind === 'subject')) malformed(`${name} is nothing that a bundle holds`)
  }
  return scope
}

function readScope (scope) {
  const kind = text(field(scope, 'kind'))
  if (kind === 'all') return exactly(scope, ['kind'])
  if (kind === 'period') {
    exactly(scope, ['kind', 'from', 'until'])
    return time(scope.from) < time(scope.until) ? scope : malformed('a period that ends before it begins')
  }
  const isGood = { run: of => NAME.test(of), model: isDigest, subject: of => NAME.test(of) }[kind] ?? malformed('scope')
  return isGood(text(exactly(scope, ['kind', 'of']).of)) ? scope : malformed('scope')
}

function manifestSigner (members, roster) {
  const bytes = members.get('manifest.json.dsse.json')
  const found = envelope(bytes)
  const [signature, ...more] = found.signatures
  const respelled = canonical({
    payload: found.payload.toString('base64'),
    payloadType: PAYLOAD_TYPE,
    signatures: [{ keyid: signature.keyId, sig: signature.value.toString('base64') }]
  })
  if (more.length > 0 || signature.keyId === '' || !bytes.equals(Buffer.concat([respelled, Buffer.of(10)]))) malformed('the envelope of the manifest')
  const [signer] = signersOf(found, roster.holders)
  if (!signer?.isParty) malformed('the manifest is not signed by a party')
  const value = statement(found)
  const about = subjects(value)
  if (value.predicateType !== `${ATTESTATION}evidence:v1` || about.size !== 1 || !about.has(digest(members.get('manifest.json')))) malformed('a signature of something else')
  return signer.name
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const rest = process.argv.slice(2)
  const at = rest.indexOf('--root')
  const [, root = null] = at < 0 ? [] : rest.splice(at, 2)
  const answer = verdict(readFileSync(rest[0]), root)
  console.log(JSON.stringify(answer))
  process.exitCode = answer.exit
}
