// What a run released, against papers and logs (docs/formats/evidence.md, 8), and what a person asked a site for.
// Not for: signatures on papers (papers.mjs), the logs themselves (logs.mjs).

import { createHmac } from 'node:crypto'

import { NAME } from './container.mjs'
import { Mentions } from './logs.mjs'
import { canonical, digest, exactly, field, list, malformed, object, parseSpelled, text, whole } from './plain.mjs'
import { ATTESTATION, envelopes, signersOf, statement, subjects, written } from './signed.mjs'

const ADAPTER = 'adapter.safetensors'
const COMMITTED = /^(hmac-)?sha256:[0-9a-f]{64}$/

export function checkProvenance (context) {
  const { members } = context
  context.mentions = new Mentions(context.logs)
  context.signatures = new Set([...members].filter(([name]) => name.endsWith('.dsse.json')).flatMap(([, bytes]) => envelopes(bytes).map(one => digest(written(one)))))
  const statements = new Map()
  for (const [name, bytes] of members) {
    const run = /^provenance\/([^/]+)\.dsse\.json$/.exec(name)?.[1]
    if (run === undefined) continue
    checkRun(context, run, bytes)
    statements.set(run, digest(bytes))
  }
  for (const { run, name, value } of context.mentions.all) {
    if (name === 'provenance' && statements.has(run) && statements.get(run) !== value) malformed('another statement of a run')
  }
}

function checkRun ({ members, roster, fingerprints, papers, mentions, signatures }, run, bytes) {
  const [envelope, ...more] = envelopes(bytes)
  if (envelope === undefined || more.length > 0) malformed('not one statement')
  const value = statement(envelope)
  subjects(value)
  const said = value.predicate
  const adapter = releasedAdapter(value)
  const sites = list(field(said, 'sites'))
  const ids = new Set(sites.map(site => text(field(site, 'id'))))
  const publishers = signersOf(envelope, roster.holders).filter(one => one.isParty && ids.has(one.name)).map(one => one.name)
  if (value.predicateType !== `${ATTESTATION}training-run:v1` || publishers.length === 0) malformed('signed by no site that took part')
  if (field(said, 'run') !== run || mentions.parties(run, 'run', run).size === 0) malformed('another run')
  if (!fingerprints.has(field(said, 'roster'))) malformed('another roster')
  if (field(said, 'study') !== papers.get('study.yaml')) malformed('another study')
  if (papers.has('base-model.yaml') && field(field(said, 'base_model'), 'record') !== papers.get('base-model.yaml')) malformed('another base model')

  const logged = (name, value) => COMMITTED.test(text(value)) ? mentions.parties(run, name, value) : new Set()
  const inOwnLog = (site, name, value) => logged(name, value).has(site.id) || malformed(`${name} is not in the site's own log`)
  const paperOf = (party, name) => papers.get(name === 'study' ? 'study.yaml' : `policies/${party}.yaml`)
  for (const site of sites) {
    if (text(field(site, 'policy')) !== paperOf(site.id, 'policy')) malformed('another policy')
    inOwnLog(site, 'policy', site.policy)
    inOwnLog(site, 'dataset', field(site, 'dataset'))
    const consent = field(site, 'consent') === null ? {} : object(site.consent)
    if (Object.keys(consent).length > 0) for (const end of ['first', 'last']) inOwnLog(site, 'snapshot', field(consent, end))
  }
  for (const { run: of, name, value, party } of mentions.all) {
    if (of === run && ['policy', 'study'].includes(name) && value !== paperOf(party, name)) malformed('a paper that is not here')
  }
  if (field(said, 'plan') !== digest(canonical(field(field(said, 'parameters'), 'plan')))) malformed('another plan')
  for (const named of Object.values(object(field(said, 'approvals')))) {
    if (list(named).length === 0 || !named.every(one => signatures.has(text(one)))) malformed('approvals that are not here')
  }

  const steps = list(field(said, 'steps'))
  if (steps.length === 0) malformed('no step')
  for (const step of steps) {
    const cohort = list(field(step, 'cohort'))
    if (cohort.length === 0 || !cohort.every(site => ids.has(site))) malformed('a cohort')
    field(step, 'step')
    if (field(step, 'outcome') !== 'abandoned' && logged('sum', field(step, 'sum')).size === 0) malformed('a sum that nobody logged')
  }
  for (const one of list(field(said, 'validations'))) {
    field(one, 'after_step')
    if (logged('sum', field(one, 'sum')).size === 0) malformed('counts that nobody logged')
  }
  if (logged('study', said.study).size === 0) malformed('a study that nobody logged')
  for (const places of [logged('adapter', adapter), logged('provenance', digest(bytes))]) {
    if (!publishers.some(one => places.has(one))) malformed('a release that its signer did not log')
  }
}

function releasedAdapter (statement) {
  const names = statement.subject.map(subject => subject.name)
  const isPlain = new Set(names).size === names.length && names.every(name => NAME.test(name))
  const [first] = statement.subject
  return first.name === ADAPTER && isPlain ? `sha256:${first.digest.sha256}` : malformed('not about an adapter first')
}

export function checkSubject ({ members, scope, logs }) {
  const bytes = members.get('subject/request.json') ?? malformed('no request')
  const names = [...members.keys()].filter(name => name.startsWith('logs/'))
  if (names.join() !== `logs/${scope.of}.checkpoint,logs/${scope.of}.selected.jsonl` || bytes.at(-1) !== 10) malformed('other logs')
  const said = exactly(parseSpelled(bytes.subarray(0, -1)), ['schema', 'site', 'subject', 'consent', 'runs', 'withdrawals'])
  if (said.schema !== 'sekisho-subject-request/1' || said.site !== scope.of) malformed('another request')
  list(said.consent)
  const entries = new Map(logs.get(scope.of).entries)
  const at = index => entries.get(whole(index)) ?? malformed('an entry that is not here')
  for (const run of list(said.runs)) {
    for (const index of list(field(run, 'entries'))) if (at(index).refs.run !== text(field(run, 'run'))) malformed('another run')
  }
  for (const one of list(said.withdrawals)) {
    exactly(one, ['case', 'index', 'key'])
    const entry = at(one.index)
    const told = { at: entry.at, case: text(one.case), reason: field(entry.data, 'reason'), subject: text(said.subject) }
    if (!/^[0-9a-f]{64}$/.test(text(one.key))) malformed('a key')
    const mac = createHmac('sha256', Buffer.from(one.key, 'hex')).update('sekisho dataset commitment v1\0').update(digest(canonical(told))).digest('hex')
    if (entry.type !== 'consent.withdrawn' || entry.refs.commitment !== `hmac-sha256:${mac}`) malformed('another withdrawal')
  }
}
