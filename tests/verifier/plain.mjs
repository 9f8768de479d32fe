// Bytes to plain values, each form with one meaning only: JSON, RFC 8785, base64, times, digests and the plain YAML of a
// roster. Written from docs/formats/evidence.md and the RFCs, for the second verifier of the tests; nothing of it is
// shipped. Not for: signatures and proofs (signed.mjs), what a bundle must hold (verify.mjs).
//
// Order of calls: any. Whatever is not in the form throws; the caller makes a verdict of it.

import { createHash } from 'node:crypto'

export const MAX_DEPTH = 64
const MAX_WHOLE = 2n ** 53n - 1n

export class Malformed extends Error {}

export function malformed (what) {
  throw new Malformed(what)
}

export const sha256 = (...parts) => {
  const hash = createHash('sha256')
  for (const part of parts) hash.update(part)
  return hash.digest()
}

export const digest = bytes => 'sha256:' + sha256(bytes).toString('hex')

export const isDigest = value => typeof value === 'string' && /^sha256:[0-9a-f]{64}$/.test(value)

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
export const utf8 = bytes => decoder.decode(bytes)

// --- shapes ----------------------------------------------------------------------------------------------------

export const isObject = value => value !== null && typeof value === 'object' && !Array.isArray(value)
export const object = value => isObject(value) ? value : malformed('not an object')
export const list = value => Array.isArray(value) ? value : malformed('not a list')
export const text = value => typeof value === 'string' ? value : malformed('not a text')
export const whole = value => typeof value === 'number' ? value : malformed('not a whole number')

export function field (value, name) {
  return name in object(value) ? value[name] : malformed(`no ${name}`)
}

export function exactly (value, names) {
  const found = Object.keys(object(value)).sort().join()
  return found === [...names].sort().join() ? value : malformed('other fields')
}

// --- JSON ------------------------------------------------------------------------------------------------------

// RFC 8259 without fractions, exponents and keys that stand twice. JSON.parse takes all of these.
export function parse (bytes) {
  const source = utf8(bytes)
  let at = 0
  const blank = () => { while (' \t\n\r'.includes(source[at]) && at < source.length) at++ }
  const word = (letters, value) => {
    if (!source.startsWith(letters, at)) malformed('JSON')
    at += letters.length
    return value
  }
  const string = () => {
    const token = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y
    token.lastIndex = at
    const match = token.exec(source) ?? malformed('a text')
    at = token.lastIndex
    return JSON.parse(match[0])
  }
  const number = () => {
    const token = /-?(?:0|[1-9][0-9]*)(?![.eE0-9])/y
    token.lastIndex = at
    const match = token.exec(source) ?? malformed('a number')
    at = token.lastIndex
    const value = match[0].length > 17 ? MAX_WHOLE + 1n : BigInt(match[0])
    if (value > MAX_WHOLE || -value > MAX_WHOLE) malformed('a number that not every reader can hold')
    return Number(value)
  }
  const items = (close, depth, take) => {
    if (depth > MAX_DEPTH) malformed('too many levels')
    at++
    blank()
    if (source[at] === close) { at++; return }
    for (;;) {
      blank()
      take(depth)
      blank()
      if (source[at] === close) { at++; return }
      word(',')
    }
  }
  const value = depth => {
    blank()
    switch (source[at]) {
      case '{': {
        const found = Object.create(null)
        items('}', depth + 1, inner => {
          const key = source[at] === '"' ? string() : malformed('a key')
          if (key in found) malformed('a key stands twice')
          blank()
          word(':')
          found[key] = value(inner)
        })
        return found
      }
      case '[': {
        const found = []
        items(']', depth + 1, inner => found.push(value(inner)))
        return found
      }
      case '"': return string()
      case 't': return word('true', true)
      case 'f': return word('false', false)
      case 'n': return word('null', null)
      default: return number()
    }
  }
  const found = value(0)
  blank()
  return at === source.length ? found : malformed('text after a value')
}

// RFC 8785. JavaScript's own order of texts is that of their UTF-16 code units, which is the RFC's.
export function canonical (value) {
  return Buffer.from(spell(value), 'utf8')
}

function spell (value) {
  if (typeof value === 'string') return value.isWellFormed() ? JSON.stringify(value) : malformed('half a character')
  if (Array.isArray(value)) return '[' + value.map(spell).join(',') + ']'
  if (isObject(value)) return '{' + Object.keys(value).sort().map(key => spell(key) + ':' + spell(value[key])).join(',') + '}'
  return JSON.stringify(value)
}

export function parseSpelled (bytes) {
  const value = parse(bytes)
  return canonical(value).equals(bytes) ? value : malformed('not in the canonical spelling')
}

// --- base64 and time -------------------------------------------------------------------------------------------

export function base64 (encoded) {
  const bytes = Buffer.from(text(encoded), 'base64')
  return bytes.toString('base64') === encoded ? bytes : malformed('base64')
}

// DSSE: a verifier takes either alphabet; the bits that padding leaves over may be anything.
export function base64Either (encoded) {
  const standard = text(encoded).replaceAll('-', '+').replaceAll('_', '/')
  return /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(standard) ? Buffer.from(standard, 'base64') : malformed('base64')
}

const TIME = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(?:Z|([+-])(\d\d):(\d\d))$/

const [FIRST, LAST] = ['0001-01-01T00:00:00Z', '9999-12-31T23:59:59Z'].map(end => Date.parse(end) / 1000)

// Microseconds since 1970, as a BigInt.
export function time (written) {
  const [, year, month, day, hour, minute, second, fraction, sign, hours, minutes] = TIME.exec(text(written)) ?? malformed('time')
  const moment = new Date(0)
  moment.setUTCFullYear(+year, +month - 1, +day)
  const there = moment.getUTCFullYear() === +year && moment.getUTCMonth() === +month - 1 && moment.getUTCDate() === +day
  if (+year === 0 || !there || +hour > 23 || +minute > 59 || +second > 59 || +(hours ?? 0) > 23 || +(minutes ?? 0) > 59) {
    malformed('a time that no calendar has')
  }
  const offset = (sign === '-' ? -60 : 60) * (60 * +(hours ?? 0) + +(minutes ?? 0))
  const seconds = moment.getTime() / 1000 + 3600 * +hour + 60 * +minute + +second - offset
  if (seconds < FIRST || seconds > LAST) malformed('a time beyond the calendar')
  return BigInt(seconds) * 1000000n + BigInt((fraction ?? '').padEnd(6, '0'))
}

// --- plain YAML ------------------------------------------------------------------------------------------------

const KEY = /^([A-Za-z0-9_-]+):(?: +(.*))?$/u
const NOT_TEXT = [
  /^(~|null|Null|NULL|True|TRUE|False|FALSE)$/, /^[-+]?\.(inf|Inf|INF)$/, /^\.(nan|NaN|NAN)$/, /^0[xo][0-9A-Fa-f]+$/,
  /^[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?$/
]

export function plainLines (bytes) {
  const source = utf8(bytes).replaceAll('\r\n', '\n')
  // eslint-disable-next-line no-control-regex
  if (/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028\u2029\ufeff]/.test(source)) malformed('a tab or a control character')
  return source.split('\n')
}

export const yaml = bytes => yamlLines(plainLines(bytes))

// What a line holds: blanks before it, and its text; an item's dash is a line of its own.
export function yamlLines (lines) {
  const rows = []
  for (const line of lines) {
    let rest = line.replace(/ +$/, '')
    let indent = /^ */.exec(rest)[0].length
    rest = rest.slice(indent)
    for (let dash; (dash = /^-(?: +|$)/.exec(rest)) !== null;) {
      rows.push({ indent, dash: true })
      indent += dash[0].length
      rest = rest.slice(dash[0].length)
    }
    if (rest !== '' && rest[0] !== '#') rows.push({ indent, rest })
  }
  const reader = { rows, at: 0 }
  const value = block(reader, 0)
  return reader.at === rows.length ? value : malformed('a line outside the structure')
}

function block (reader, depth) {
  const first = reader.rows[reader.at] ?? malformed('nothing')
  if (depth > MAX_DEPTH) malformed('too many levels')
  const here = () => {
    const row = reader.rows[reader.at]
    return row !== undefined && row.indent === first.indent && row.dash === first.dash ? row : null
  }
  if (first.dash) {
    const items = []
    while (here()) {
      reader.at++
      if (!(reader.rows[reader.at]?.indent > first.indent)) malformed('an item without a value')
      items.push(block(reader, depth + 1))
    }
    return items
  }
  if (!KEY.test(first.rest)) {
    reader.at++
    return oneLine(first.rest, depth)
  }
  const found = Object.create(null)
  for (let row; (row = here());) {
    const [, key, rest] = KEY.exec(row.rest) ?? malformed('not a key')
    if (key in found) malformed('a key stands twice')
    reader.at++
    if (rest !== undefined && rest !== '' && rest[0] !== '#') {
      found[key] = oneLine(rest, depth)
      continue
    }
    const below = reader.rows[reader.at] ?? malformed('a key without a value')
    if (below.indent < row.indent || (below.indent === row.indent && !below.dash)) malformed('a key without a value')
    found[key] = block(reader, depth + 1)
  }
  return found
}

function oneLine (source, depth) {
  if (!'[{"\''.includes(source[0])) return scalar(source.split(/ +#/)[0])
  const flow = new Flow(source)
  const value = flow.value(depth)
  return /^ *$|^ +#/.test(source.slice(flow.at)) ? value : malformed('text after a value')
}

function scalar (source) {
  if (source === '' || '&*!|>%@`?-#,]}'.includes(source[0]) || source.includes(': ') || source.includes(' #') || source.endsWith(':')) {
    malformed('not a plain scalar')
  }
  if (source === 'true' || source === 'false') return source === 'true'
  if (/^(0|[1-9][0-9]{0,15})$/.test(source) && BigInt(source) <= MAX_WHOLE) return Number(source)
  return NOT_TEXT.some(form => form.test(source)) ? malformed('neither text nor a whole number') : source
}

class Flow {
  constructor (source) {
    this.source = source
    this.at = 0
  }

  get next () { return this.source[this.at] }

  blanks () { while (this.next === ' ') this.at++ }

  // A colon is a mark only before a blank or the end of the line.
  get isColon () { return this.next === ':' && [' ', undefined].includes(this.source[this.at + 1]) }

  value (depth) {
    if (depth > MAX_DEPTH) malformed('too many levels')
    this.blanks()
    if (this.next === '"') return this.double()
    if (this.next === "'") return this.single()
    if (this.next === '[') return this.items(']', [], found => found.push(this.value(depth + 1)))
    if (this.next === '{') {
      return this.items('}', Object.create(null), found => {
        const key = text(this.value(depth + 1))
        this.blanks()
        if (!this.isColon || key in found) malformed('not a key that stands once')
        this.at++
        found[key] = this.value(depth + 1)
      })
    }
    return this.plain()
  }

  items (close, found, take) {
    this.at++
    for (;;) {
      this.blanks()
      if (this.next === close) break
      take(found)
      this.blanks()
      if (this.next === close) break
      if (this.next !== ',') malformed('no comma')
      this.at++
    }
    this.at++
    return found
  }

  double () {
    const begin = this.at++
    while (this.next !== '"') this.at += this.next === '\\' ? 2 : this.next === undefined ? malformed('no end of a text') : 1
    return JSON.parse(this.source.slice(begin, ++this.at))
  }

  single () {
    let found = ''
    for (this.at++; ;) {
      const end = this.source.indexOf("'", this.at)
      if (end < 0) malformed('no end of a text')
      found += this.source.slice(this.at, end)
      this.at = end + 1
      if (this.next !== "'") return found
      found += "'"
      this.at++
    }
  }

  plain () {
    const begin = this.at
    if (this.next === undefined) malformed('nothing')
    while (this.next !== undefined && !'[]{},'.includes(this.next) && !this.isColon) this.at++
    return scalar(this.source.slice(begin, this.at).replace(/ +$/, ''))
  }
}
