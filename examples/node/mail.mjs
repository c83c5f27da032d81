// Send each alert by mail: MAIL_FROM=… MAIL_TO=… SMTP_URL=smtps://user:password@host node mail.mjs
// nodemailer (https://nodemailer.com) does the mail; Minutebook itself does not need it.
import amqp from "amqplib";
import nodemailer from "nodemailer";

const URL = process.env.RABBITMQ_URL ?? "amqp://user:password@127.0.0.1:5672/%2F";
const QUEUE = "notifications.mail"; // notifications.*: our broker bounds it
const ANSWERS = "notifications.delivered";
const { MAIL_FROM: from, MAIL_TO: to, SMTP_URL: smtp } = process.env;
if (!from || !to || !smtp) {
  console.error("usage: MAIL_FROM=… MAIL_TO=… SMTP_URL=smtp://host:25 node mail.mjs");
  process.exit(1);
}

const mail = nodemailer.createTransport(smtp);
const connection = await amqp.connect(URL);
const channel = await connection.createConfirmChannel();
await channel.assertExchange("notifications", "topic", { durable: true });
await channel.assertQueue(QUEUE, { durable: true });
await channel.bindQueue(QUEUE, "notifications", "#"); // or below.*, or *.1
await channel.prefetch(1);

// An error ends the program: what is not acknowledged comes again.
await channel.consume(QUEUE, async (message) => {
  const alert = JSON.parse(message.content.toString());
  const limit = alert.threshold === null ? "" : ` ${alert.threshold}`;
  await mail.sendMail({
    from,
    to,
    subject: `${alert.key}: ${alert.condition}${limit}`,
    text: `${alert.key} has ${alert.balance}, before ${alert.previous ?? "-"}, as of ${alert.tick}.`,
    // One that is sent twice has the same name: most mailboxes show it once.
    messageId: `<${alert.id.replaceAll(":", ".")}@minutebook>`,
  });
  channel.sendToQueue(ANSWERS, Buffer.from(JSON.stringify({ id: alert.id })), { persistent: true });
  await channel.waitForConfirms();
  channel.ack(message);
  console.log(`sent ${alert.id}`);
});
