// A linked device made of Baileys, driven by JSON lines: commands on standard input,
// what happens on standard output. Nothing of Baileys is patched; only the root of the
// server's certificates is told to it, and that files are with it, on plain HTTP.
//
//   PEER_URL    the server, ws://127.0.0.1:PORT/ws/chat
//   PEER_ROOT   the key that vouches for it, in hex
//   PEER_STATE  a directory for the device's keys
//
//   in   {"do":"send","to":JID,"text":"...","quote":ID?}   {"do":"image","to":JID,"base64":"...","caption":"..."}
//        {"do":"react","to":JID,"id":ID,"emoji":"..."}     {"do":"end"}
//   out  {"event":"qr","code":"..."}   {"event":"open","jid":JID}   {"event":"sent","id":ID}
//        {"event":"message","id","chat","sender","from_me","text","quoted","base64"}
//        {"event":"closed","code":N}   {"event":"error","error":"..."}
import http from 'node:http'
import https from 'node:https'
import { syncBuiltinESMExports } from 'node:module'
import { createInterface } from 'node:readline'

// Its Signal library prints what it does.
for (const word of ['log', 'info', 'warn', 'debug']) console[word] = console.error
const plain = globalThis.fetch
const { hostname, port } = new URL(process.env.PEER_URL)
globalThis.fetch = (url, options) =>
  plain(String(url).replace(/^https:..[^/]+/, `http://${hostname}:${port}`), options)
https.request = (options, ...rest) => http.request({ ...options, hostname, port }, ...rest)
syncBuiltinESMExports()

const baileys = await import('baileys')
const { default: makeWASocket, useMultiFileAuthState, downloadMediaMessage } = baileys
const { WA_CERT_DETAILS } = await import('baileys/lib/Defaults/index.js')
const { default: pino } = await import('pino')

WA_CERT_DETAILS.PUBLIC_KEY = Buffer.from(process.env.PEER_ROOT, 'hex')

const tell = line => process.stdout.write(JSON.stringify(line) + '\n')
const logger = pino({ level: process.env.PEER_LOG ?? 'silent' }, pino.destination(2))
const { state, saveCreds } = await useMultiFileAuthState(process.env.PEER_STATE)
const seen = new Map()
let socket

function connect() {
  socket = makeWASocket({
    auth: state,
    logger,
    waWebSocketUrl: process.env.PEER_URL,
    markOnlineOnConnect: false,
    shouldSyncHistoryMessage: () => false,
    getMessage: async key => seen.get(key.id)?.message,
  })
  socket.ev.on('creds.update', saveCreds)
  socket.ev.on('connection.update', ({ connection, qr, lastDisconnect }) => {
    if (qr) tell({ event: 'qr', code: qr })
    if (connection === 'open') tell({ event: 'open', jid: socket.user.id })
    if (connection === 'close') {
      const code = lastDisconnect?.error?.output?.statusCode
      // 515: the device was linked and must connect anew.
      if (code === 515) return connect()
      tell({ event: 'closed', code })
    }
  })
  socket.ev.on('messages.upsert', async ({ messages }) => {
    for (const message of messages) await arrived(message).catch(failed)
  })
}

async function arrived(message) {
  const body = message.message
  if (!body || body.protocolMessage) return
  seen.set(message.key.id, message)
  const extended = body.extendedTextMessage
  const image = body.imageMessage
  const quoted = extended?.contextInfo?.quotedMessage
  tell({
    event: 'message',
    id: message.key.id,
    chat: message.key.remoteJid,
    sender: message.key.participant ?? message.key.remoteJid,
    from_me: message.key.fromMe,
    text: body.conversation ?? extended?.text ?? image?.caption ?? null,
    reaction: body.reactionMessage?.text ?? null,
    quoted: quoted ? (quoted.conversation ?? quoted.extendedTextMessage?.text ?? null) : null,
    base64: image ? (await downloadMediaMessage(message, 'buffer', {})).toString('base64') : null,
  })
}

async function send(to, content, quote) {
  const sent = await socket.sendMessage(to, content, quote ? { quoted: seen.get(quote) } : {})
  seen.set(sent.key.id, sent)
  tell({ event: 'sent', id: sent.key.id })
}

async function perform(command) {
  switch (command.do) {
    case 'send':
      return send(command.to, { text: command.text }, command.quote)
    case 'image': {
      const image = Buffer.from(command.base64, 'base64')
      // A thumbnail would need an image library.
      return send(command.to, { image, caption: command.caption, jpegThumbnail: '' })
    }
    case 'react': {
      const key = seen.get(command.id)?.key
      return send(command.to, { react: { text: command.emoji, key } })
    }
    case 'end':
      socket.end(undefined)
      return process.exit(0)
    default:
      throw new Error(`unknown command ${command.do}`)
  }
}

const failed = error => tell({ event: 'error', error: String(error?.stack ?? error) })

connect()
for await (const line of createInterface({ input: process.stdin })) {
  await perform(JSON.parse(line)).catch(failed)
}
process.exit(0)
