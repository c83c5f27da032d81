// Follow the changes and keep each balance: node follow.mjs STATE_FILE [TICKS]
// STATE_FILE has the balances as of the last complete tick. With TICKS it ends after so many ticks.
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import amqp from "amqplib";

const URL = process.env.RABBITMQ_URL ?? "amqp://user:password@127.0.0.1:5672/%2F";
const EXCHANGE = "changes";
const QUEUE = process.env.CHANGES_QUEUE ?? "changes.example"; // changes.*: our broker bounds it
const KEYS = ["transaction.*", "provider.*", "balance.read", "tick.closed"];

const [path, most] = process.argv.slice(2);
if (path === undefined) {
  console.error("usage: node follow.mjs STATE_FILE [TICKS]");
  process.exit(1);
}
let state = { epoch: 0, closed: "", balances: {} };
if (existsSync(path)) state = JSON.parse(readFileSync(path, "utf8"));
// By the tick's token, then by id: a tick that was begun and never closed is left out, and what
// comes twice counts once.
let changes = new Map();

// Take the next event; true once a tick is complete, and so may be acknowledged.
function take(event) {
  if (event.event !== "tick.closed") {
    const parts = event.id.split(":");
    const token = parts[1] === "r" ? parts.slice(0, -1).join(":") : parts[0];
    if (!changes.has(token)) changes.set(token, new Map());
    changes.get(token).set(event.id, event);
    return false;
  }
  const came = [...(changes.get(event.id.replace(/:tick$/, "")) ?? new Map()).values()];
  changes = new Map();
  if (event.anew) {
    // Whatever its epoch: what was read replaces everything.
    const read = Object.fromEntries(came.map((one) => [one.provider_id, one.balance]));
    close(event, read, came.length === event.balances);
  } else if (event.epoch > state.epoch) {
    // Else it is a repetition.
    const whole = came.length === event.transactions + event.providers;
    close(event, balancesWith(came), whole && event.previous_id === state.closed);
  }
  return true;
}

// Minor units, as decimal strings: a BigInt holds all of it, a Number does not.
function balancesWith(came) {
  const balances = { ...state.balances };
  for (const { provider_id: provider, amount } of came) {
    balances[provider] = String(BigInt(balances[provider] ?? 0) + BigInt(amount));
  }
  return balances;
}

function close(event, balances, complete) {
  if (!complete) {
    console.log(`tick ${event.epoch}: missed something; ask for: ops followers anew feed`);
    return;
  }
  state = { epoch: event.epoch, closed: event.id, balances };
  writeFileSync(`${path}.new`, JSON.stringify(state));
  renameSync(`${path}.new`, path); // all of it or nothing, before it is acknowledged
  console.log(`tick ${event.epoch} ${event.tick}: ${Object.keys(balances).length} balances`);
}

const connection = await amqp.connect(URL);
const channel = await connection.createChannel();
await channel.assertExchange(EXCHANGE, "topic", { durable: true });
await channel.assertQueue(QUEUE, { durable: true });
for (const key of KEYS) await channel.bindQueue(QUEUE, EXCHANGE, key);
await channel.prefetch(0); // a whole tick is in hand before it is acknowledged
let ticks = 0;
await channel.consume(QUEUE, async (message) => {
  if (message === null) throw new Error(`queue ${QUEUE} was deleted`);
  if (most !== undefined && ticks >= Number(most)) return;
  const before = state.closed;
  if (!take(JSON.parse(message.content.toString()))) return;
  channel.ack(message, true);
  if (state.closed !== before && ++ticks === Number(most)) {
    await channel.close();
    await connection.close();
  }
});
