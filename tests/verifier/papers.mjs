// Rosters and approvals (docs/formats/evidence.md, 3 and 4): whose keys there are, and whose yes counts for what.
// Not for: logs and what a run released. Order of calls: readRoster -> checkRosters, checkPapers.

import { base64, canonical, digest, exactly, field, isDigest, isObject, list, malformed, object, plainLines, text, time, whole, yaml, yamlLines } from './plain.mjs'
import { ATTESTATION, envelopes, isStrongKey, keyId, signersOf, statement, subjects } from './signed.mjs'

const BOTH = ['legal', 'it']
const HOLDER = /^[a-z0-9][a-z0-9-]{0,39}$/
const texts = value => list(value).map(text)

// holders: one for each key, {name, isParty, kind, roles, actsFor, raw}
export function readRoster (bytes) {
  const document = object(yaml(bytes))
  const parties = list(field(document, 'parties')).map(party => ({
    name: text(field(party, 'id')), isParty: true, kind: text(field(party, 'kind')), roles: [], actsFor: [], keys: [field(party, 'key')]
  }))
  const people = list(field(document, 'people')).map(person => ({
    name: text(field(person, 'pseudonym')), isParty: false, kind: 'person', roles: texts(field(person, 'roles')),
    actsFor: 'acts_for' in person ? texts(person.acts_for) : [], keys: field(person, 'keys')
  }))
  if (!parties.every(one => ['site', 'coordinator'].includes(one.kind))) malformed('the kind of a party')
  const everybody = [...parties, ...people]
  if (!everybody.flatMap(one => [one.name, ...one.roles]).every(name => HOLDER.test(name))) malformed('a name or a role that is none')
  if (new Set(everybody.map(one => one.name)).size !== everybody.length) malformed('a name stands twice')
  const holders = everybody.flatMap(({ keys, ...one }) => texts(keys).map(written => ({ ...one, raw: readKey(written) })))
  if (new Set(holders.map(one => keyId(one.raw))).size !== holders.length) malformed('a key stands twice')
  const demo = field(document, 'demo')
  if (typeof demo !== 'boolean') malformed('demo')
  const roles = new Map(Object.entries(object(field(document, 'roles'))).map(([role, number]) => [role, Math.max(whole(number), 1)]))
  return {
    holders, demo, version: whole(field(document, 'version')), fingerprint: digest(bytes),
    sites: new Map(holders.filter(one => one.kind === 'site').map(one => [one.name, one])),
    needed: role => roles.get(role) ?? 1, roles,
    supersedes: text('supersedes' in document ? document.supersedes : ''),
    created: time(field(document, 'created')), expires: time(field(document, 'expires'))
  }
}

function readKey (written) {
  const raw = written.startsWith('ed25519:') ? base64(written.slice('ed25519:'.length)) : malformed('a key')
  return isStrongKey(raw) ? raw : malformed('a weak key')
}

// The whole chain, back to a roster that every site in it signed.
export function checkRosters (members, roster) {
  const chain = [roster]
  let name = 'roster.yaml'
  for (;;) {
    const here = chain.at(-1)
    const signatures = envelopes(members.get(`${name}.dsse.json`) ?? malformed(`${name} has no signatures`))
    const signed = sitesThatSigned(here, signatures)
    if (here.sites.size > 0 && [...here.sites.keys()].every(site => signed.has(site))) break
    name = `rosters/${here.version - 1}.yaml`
    if (here.supersedes === '' || !members.has(name)) malformed('a roster that nobody handed on')
    const before = readRoster(members.get(name))
    if (before.fingerprint !== here.supersedes || before.version !== here.version - 1 || before.demo !== here.demo) malformed('another roster')
    checkSuccession(before, here, signatures, signed)
    chain.push(before)
  }
  const owners = new Map()
  for (const holder of chain.reverse().flatMap(one => one.holders)) {
    const owner = canonical([holder.name, holder.kind]).toString()
    const key = keyId(holder.raw)
    if ((owners.get(key) ?? owner) !== owner) malformed('a key changed hands')
    owners.set(key, owner)
  }
  return chain
}

function sitesThatSigned (roster, signatures) {
  const signed = new Set()
  for (const envelope of signatures) {
    const sites = signersOf(envelope, [...roster.sites.values()])
    if (sites.length === 0) continue
    const said = statement(envelope)
    const about = subjects(said)
    const isThis = said.predicateType === `${ATTESTATION}roster:v1` && about.size === 1 && about.has(roster.fingerprint)
    if (isThis && canonical(said.predicate).equals(canonical({ version: roster.version }))) sites.forEach(site => signed.add(site.name))
  }
  return signed
}

function checkSuccession (old, now, signatures, signed) {
  const end = old.expires < now.expires ? old.expires : now.expires
  for (const roster of [old, now]) {
    const words = wordsOf(signatures, 'roster', roster, peopleOf(roster)).filter(word =>
      word.decision !== 'approve' || (word.issued > roster.created ? word.issued : roster.created) < end)
    if (!BOTH.every(role => approving(words, new Set([now.fingerprint]), '', role) >= roster.needed(role))) malformed('a roster is not handed on')
  }
  for (const [name, site] of now.sites) {
    if (!old.sites.get(name)?.raw.equals(site.raw) && !signed.has(name)) malformed('a new site has not signed')
  }
}

const peopleOf = roster => roster.holders.filter(one => !one.isParty)

// The digest of each paper by its name; each has its approvals.
export function checkPapers (members, roster) {
  const papers = new Map()
  const both = BOTH.map(role => [role, roster.needed(role)])
  for (const [name, data] of members) {
    const site = /^policies\/([^/]+)\.yaml$/.exec(name)?.[1]
    let [kind, needed, people] = ['policy-approval', both, peopleOf(roster)]
    if (name === 'study.yaml') {
      const asks = requester(data)
      kind = 'study-approval'
      people = people.filter(one => one.name !== asks)
    } else if (name === 'base-model.yaml') {
      [kind, needed] = ['base-model', [['legal', 1]]]
    } else if (site !== undefined) {
      people = people.filter(one => one.actsFor.includes(site))
    } else {
      continue
    }
    papers.set(name, digest(data))
    const words = wordsOf(envelopes(members.get(`${name}.dsse.json`) ?? Buffer.alloc(0)), kind, roster, people)
    const isApproved = words.some(word => word.decision === 'approve' && word.about.size === 2 && word.about.has(digest(data)) &&
      needed.every(([role, number]) => approving(words, word.about, word.seen, role) >= number))
    if (!isApproved) malformed(`${name} is not approved`)
  }
  return papers
}

export function requester (bytes) {
  const block = []
  let key = null
  for (const line of plainLines(bytes)) {
    if (/^ *(#|$)/.test(line)) continue
    if (!/^([ \]}]|- )/.test(line)) key = /^([A-Za-z0-9_-]+):( +.*)?$/u.exec(line)?.[1] ?? null
    if (key === null) malformed('a line at the margin that is no key')
    if (key === 'requester') block.push(line)
  }
  return text(field(yamlLines(block), 'requester'))
}

// What people said; whatever is no such word is passed over.
function wordsOf (signatures, kind, roster, people) {
  return signatures.flatMap(envelope => {
    const signers = signersOf(envelope, people)
    if (signers.length === 0) return []
    try {
      const word = readWord(statement(envelope), kind, roster)
      return signers.map(person => ({ ...word, person }))
    } catch {
      return []
    }
  })
}

function readWord (statement, kind, roster) {
  const { shown, ...said } = object(statement.predicate)
  exactly(said, ['decision', 'role', 'issued', 'expires', 'roster'])
  const under = exactly(said.roster, ['version', 'fingerprint'])
  if (statement.predicateType !== `${ATTESTATION}${kind}:v1` || !['approve', 'reject', 'revoke'].includes(said.decision)) malformed('no word')
  whole(under.version)
  text(under.fingerprint)
  const issued = time(said.issued)
  time(said.expires)
  let seen = ''
  if (said.decision === 'approve') {
    const shows = 'shown' in statement.predicate
    if (shows !== (kind === 'policy-approval') || (shows && !isRendering(shown))) malformed('shown')
    seen = shows ? canonical(shown).toString() : ''
    const isThis = under.version === roster.version && under.fingerprint === roster.fingerprint
    if (under.version >= roster.version && !isThis) malformed('another roster')
  }
  return { about: subjects(statement), seen, role: said.role, decision: said.decision, issued }
}

function isRendering (shown) {
  if (!isObject(shown) || Object.keys(shown).sort().join() !== 'comparison,en,ja,renderer') return false
  return isDigest(shown.en) && isDigest(shown.ja) && (shown.comparison === null || isDigest(shown.comparison)) &&
    typeof shown.renderer === 'string' && shown.renderer !== '' && !shown.renderer.includes('"')
}

// How many people say yes in this role, and in no other, to exactly this.
function approving (words, about, seen, role) {
  const isExactly = word => word.seen === seen && word.about.size === about.size && [...about].every(one => word.about.has(one))
  const overlaps = word => [...about].some(one => word.about.has(one))
  const names = new Set(words.map(word => word.person.name))
  return [...names].filter(name => {
    const own = words.filter(word => word.person.name === name && word.person.roles.includes(word.role))
    const noes = own.filter(word => word.decision !== 'approve' && overlaps(word)).map(word => word.issued)
    const roles = new Set(own.filter(word => word.decision === 'approve' && isExactly(word) && noes.every(no => word.issued > no)).map(word => word.role))
    return roles.size === 1 && roles.has(role)
  }).length
}
