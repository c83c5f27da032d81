// Send one transaction: node send.mjs PROVIDER_ID VALUE [MESSAGE_ID]
import amqp from "amqplib";
import { v7 as timeOrderedId } from "uuid";

const URL = process.env.RABBITMQ_URL ?? "amqp://user:password@127.0.0.1:5672/%2F";
const QUEUE = "incoming_transactions";
const SHARDS = BigInt(process.env.SHARDS ?? 1);

const [providerId, value, messageId = timeOrderedId()] = process.argv.slice(2);
if (value === undefined) {
  console.error("usage: node send.mjs PROVIDER_ID VALUE [MESSAGE_ID]");
  process.exit(1);
}
// As text: numbers of JavaScript lose digits above 2^53.
const body = `{"id": ${BigInt(providerId)}, "value": ${BigInt(value)}}`;

const connection = await amqp.connect(URL);
const channel = await connection.createConfirmChannel();
// The remainder that is never negative; % has the sign of the id here.
const shard = ((BigInt(providerId) % SHARDS) + SHARDS) % SHARDS;
const [exchange, key] = SHARDS > 1n ? ["transactions", String(shard)] : ["", QUEUE];
if (SHARDS === 1n) await channel.assertQueue(QUEUE, { durable: true });
// A mandatory message that no queue takes comes back, and is confirmed all the same.
let returned = false;
channel.on("return", () => { returned = true; });
const properties = { persistent: true, mandatory: true, messageId };
channel.publish(exchange, key, Buffer.from(body), properties);
// Throws if the broker refuses it; if the connection is lost: send it again, same id.
await channel.waitForConfirms();
await connection.close();
if (returned) throw new Error(`no queue takes ${key}`);
console.log(`confirmed ${messageId}`);
