// Send one transaction: node send.mjs PROVIDER_ID VALUE [MESSAGE_ID]
import amqp from "amqplib";
import { v7 as timeOrderedId } from "uuid";

const URL = process.env.RABBITMQ_URL ?? "amqp://user:password@127.0.0.1:5672/%2F";
const QUEUE = "incoming_transactions";

const [providerId, value, messageId = timeOrderedId()] = process.argv.slice(2);
if (value === undefined) {
  console.error("usage: node send.mjs PROVIDER_ID VALUE [MESSAGE_ID]");
  process.exit(1);
}
// As text: numbers of JavaScript lose digits above 2^53.
const body = `{"id": ${BigInt(providerId)}, "value": ${BigInt(value)}}`;

const connection = await amqp.connect(URL);
const channel = await connection.createConfirmChannel();
await channel.assertQueue(QUEUE, { durable: true });
// A mandatory message that no queue takes comes back, and is confirmed all the same.
let returned = false;
channel.on("return", () => { returned = true; });
channel.sendToQueue(QUEUE, Buffer.from(body), { persistent: true, mandatory: true, messageId });
// Throws if the broker refuses it; if the connection is lost: send it again, same id.
await channel.waitForConfirms();
await connection.close();
if (returned) throw new Error(`there is no queue ${QUEUE}`);
console.log(`confirmed ${messageId}`);
