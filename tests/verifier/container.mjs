// The one zip of a bundle's members, as docs/formats/evidence.md (1) lays it down byte by byte; nothing of it is shipped.
// Not for: any other zip. Order of calls: members(bytes) -> Map of name and bytes.

import { crc32 as zlibCrc32 } from 'node:zlib'

export const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}(\/[A-Za-z0-9][A-Za-z0-9._-]{0,99}){0,3}$/
const [LOCAL, END] = ['PK\u0003\u0004', 'PK\u0005\u0006']
const [LOCAL_SIZE, END_SIZE] = [30, 22]

export class NoBundle extends Error {}

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1
  return value
})

// Node has it since 20.15 and 22.2 only.
const crc32 = zlibCrc32 ?? (bytes => {
  let value = 0xffffffff
  for (const byte of bytes) value = table[(value ^ byte) & 0xff] ^ (value >>> 8)
  return (value ^ 0xffffffff) >>> 0
})

// Fields in the order of the format: 's' four letters, 'H' two bytes, 'L' four bytes, little endian.
function pack (form, ...values) {
  return Buffer.concat([...form].map((kind, at) => {
    if (kind === 's') return Buffer.from(values[at], 'latin1')
    const field = Buffer.alloc(kind === 'H' ? 2 : 4)
    if (kind === 'H') field.writeUInt16LE(values[at])
    else field.writeUInt32LE(values[at])
    return field
  }))
}

const local = (name, crc, size) => Buffer.concat([
  pack('sHHHHHLLLHH', LOCAL, 20, 0, 0, 0, 0x0021, crc, size, size, name.length, 0), Buffer.from(name)])

const record = (name, crc, size, offset) => Buffer.concat([
  pack('sHHHHHHLLLHHHHHLL', 'PK\u0001\u0002', 20 | 3 << 8, 20, 0, 0, 0, 0x0021, crc, size, size, name.length, 0, 0, 0, 0, 0o100644 * 65536, offset),
  Buffer.from(name)])

export function members (bytes) {
  const begins = (mark, at) => bytes.toString('latin1', at, at + 4) === mark
  if (!begins(LOCAL, 0) && !(bytes.length >= END_SIZE && begins(END, bytes.length - END_SIZE))) throw new NoBundle('no zip')
  const found = new Map()
  const directory = []
  let [at, before] = [0, '']
  while (begins(LOCAL, at) && at + LOCAL_SIZE <= bytes.length) {
    const size = bytes.readUInt32LE(at + 22)
    const start = at + LOCAL_SIZE + bytes.readUInt16LE(at + 26)
    const name = bytes.toString('latin1', at + LOCAL_SIZE, start)
    const data = bytes.subarray(start, start + size)
    const crc = crc32(data)
    const fits = start + size <= bytes.length && NAME.test(name) && name > before
    if (!fits || !bytes.subarray(at, start).equals(local(name, crc, size))) throw new Error('container')
    found.set(name, data)
    directory.push(record(name, crc, size, at))
    at = start + size
    before = name
  }
  const whole = Buffer.concat(directory)
  const end = pack('sHHHHLLH', END, 0, 0, found.size, found.size, whole.length, at, 0)
  if (!bytes.subarray(at).equals(Buffer.concat([whole, end]))) throw new Error('container')
  return found
}
