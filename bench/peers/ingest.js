// Ingest's design in Node: one batch is committed while the next is received. Same schema, same
// prefetch and batch, outbox rows in the same statement, duplicates refused by the same constraint,
// acknowledged after the commit, all up to a tag at once. Left out: validation, dead letters,
// metrics, reconnecting.
"use strict";

const amqp = require("amqplib");
const pg = require("pg");

const QUEUE = process.env.BENCH_QUEUE;
const BATCH_MAX = Number(process.env.BENCH_BATCH_MAX);
const PREFETCH = Number(process.env.BENCH_PREFETCH);

const INSERT = {
  name: "insert",
  text: `
WITH stored AS (
    INSERT INTO historical_transactions (provider_id, transaction_value, message_id)
    SELECT b.provider_id, b.value, b.message_id
      FROM unnest($1::bigint[], $2::bigint[], $3::text[])
           WITH ORDINALITY AS b (provider_id, value, message_id, n)
     ORDER BY b.n
    ON CONFLICT (message_id) DO NOTHING
    RETURNING id, provider_id, transaction_value
)
INSERT INTO outbox (transaction_id, provider_id, amount, operation)
SELECT id, provider_id, transaction_value, 'added'
  FROM stored`,
};

async function main() {
  const client = new pg.Client({
    connectionString: process.env.POSTGRES_DSN,
    options: "-c minutebook.writer=ingest -c jit=off",
  });
  await client.connect();
  const connection = await amqp.connect(process.env.RABBITMQ_URL);
  const channel = await connection.createChannel();
  await channel.prefetch(PREFETCH);
  const pending = [];
  let committing = false;

  async function commit() {
    committing = true;
    while (pending.length > 0) {
      const batch = pending.splice(0, BATCH_MAX);
      const ids = [];
      const values = [];
      const identities = [];
      for (const message of batch) {
        const body = JSON.parse(message.content);
        ids.push(body.id);
        values.push(body.value);
        identities.push(message.properties.messageId);
      }
      await client.query({ ...INSERT, values: [ids, values, identities] });
      channel.ack(batch[batch.length - 1], true);
    }
    committing = false;
  }

  function fail(error) {
    console.error(error.message);
    process.exit(1);
  }

  connection.on("error", fail);
  await channel.consume(QUEUE, (message) => {
    pending.push(message);
    // Not at once: what came in the same read belongs to the same batch.
    if (!committing) {
      committing = true;
      setImmediate(() => commit().catch(fail));
    }
  });
}

main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
