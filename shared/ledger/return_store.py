"""The SQL of returns. Decimals leave it as digits."""

from typing import LiteralString

from shared.ledger.balance_page import PROVIDERS
from shared.ledger.valuation import CURRENCIES

# Each day's end is a tick: the last until then. A session's time zone must not matter.
SELECT_DAYS: LiteralString = """
SELECT d.day::date, t.epoch
  FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, interval '1 day') AS d (day)
  LEFT JOIN LATERAL (
       SELECT epoch
         FROM tick
        WHERE boundary <= (d.day + interval '1 day') AT TIME ZONE 'UTC'
          AND (%(epoch)s::bigint IS NULL OR epoch <= %(epoch)s::bigint)
        ORDER BY boundary DESC
        LIMIT 1
       ) AS t ON true
 ORDER BY d.day
"""
SELECT_PROVIDERS: LiteralString = f"""
{PROVIDERS}
SELECT provider_id
  FROM jump
 WHERE provider_id IS NOT NULL
"""  # noqa: S608 - constants of ours only
# Division of `numeric` rounds by itself, and a second rounding could go the other way: so the
# quotient is taken in whole units of the last digit.
RATE: LiteralString = """
CASE WHEN denominator > 0 THEN
    trim_scale(sign(gain) * div(abs(gain) * 2e10 + denominator, denominator * 2) * 1e-10)::text
END
"""
# One look-up in the primary key for each provider and day, however much history is kept; prices are
# looked up for each symbol, not for each provider.
SELECT_RETURNS: LiteralString = f"""
WITH day AS MATERIALIZED (
    SELECT *
      FROM unnest(%(days)s::date[], %(epochs)s::bigint[]) AS d (day, epoch)
), held AS MATERIALIZED (
    SELECT p.provider_id, d.day, b.key, s.symbol, ('1e-' || s.scale)::numeric AS unit,
           CASE WHEN b.key IS NULL THEN 0 ELSE b.balance END AS balance
      FROM unnest(%(ids)s::bigint[]) AS p (provider_id)
     CROSS JOIN day d
      LEFT JOIN LATERAL (
           SELECT key, balance
             FROM balance
            WHERE provider_id BETWEEN p.provider_id AND p.provider_id
              AND epoch <= d.epoch
            ORDER BY provider_id DESC, epoch DESC
            LIMIT 1
           ) AS b ON true
      LEFT JOIN provider_symbol s ON s.provider_id = p.provider_id
), named AS (
    SELECT provider_id, symbol,
           (array_agg(key ORDER BY day DESC) FILTER (WHERE key IS NOT NULL))[1] AS key
      FROM held
     GROUP BY provider_id, symbol
), quote AS MATERIALIZED (
    SELECT s.symbol, c.currency, d.day, q.price
      FROM (SELECT DISTINCT symbol FROM named WHERE symbol IS NOT NULL AND key IS NOT NULL) AS s
     CROSS JOIN LATERAL ({CURRENCIES}) AS c
     CROSS JOIN day d
     CROSS JOIN LATERAL (
           SELECT price
             FROM price
            WHERE symbol = s.symbol
              AND currency = c.currency
              AND day <= d.day
            ORDER BY day DESC
            LIMIT 1
           ) AS q
), priced AS (
    SELECT symbol, currency
      FROM quote
     WHERE day = %(first)s
), moved AS (
    SELECT provider_id, day, symbol, balance * unit AS units,
           (balance - lag(balance) OVER (PARTITION BY provider_id ORDER BY day)) * unit AS flow
      FROM held
), added AS (
    SELECT m.provider_id, q.currency,
           sum(m.units * q.price) FILTER (WHERE m.day = %(first)s) AS value_start,
           sum(m.units * q.price) FILTER (WHERE m.day = %(last)s) AS value_end,
           coalesce(sum(m.flow * q.price), 0) AS flows,
           coalesce(sum(m.flow * q.price) FILTER (WHERE m.flow > 0), 0) AS positive_flows
      FROM moved m
      JOIN quote q ON q.symbol = m.symbol
                  AND q.day = m.day
      JOIN priced p ON p.symbol = q.symbol
                   AND p.currency = q.currency
     GROUP BY m.provider_id, q.currency
), earned AS (
    SELECT *, value_end - value_start - flows AS gain, value_start + positive_flows AS denominator
      FROM added
)
SELECT n.provider_id, n.key, n.symbol, coalesce(e.currency, %(currency)s::text),
       trim_scale(e.value_start)::text, trim_scale(e.value_end)::text,
       trim_scale(e.flows)::text, trim_scale(e.positive_flows)::text, trim_scale(e.gain)::text,
       {RATE},
       CASE WHEN n.symbol IS NULL THEN 'no_symbol'
            WHEN e.currency IS NULL THEN 'no_price'
            WHEN e.denominator <= 0 THEN 'denominator_not_positive'
       END
  FROM named n
  LEFT JOIN earned e ON e.provider_id = n.provider_id
 WHERE n.key IS NOT NULL
 ORDER BY n.provider_id, e.currency
"""  # noqa: S608 - constants of ours only
ADD_UP: LiteralString = f"""
SELECT currency, providers, trim_scale(value_start)::text, trim_scale(value_end)::text,
       trim_scale(flows)::text, trim_scale(positive_flows)::text, trim_scale(gain)::text, {RATE},
       CASE WHEN denominator <= 0 THEN 'denominator_not_positive' END
  FROM (SELECT *, value_end - value_start - flows AS gain,
               value_start + positive_flows AS denominator
          FROM (SELECT currency, sum(providers)::bigint AS providers,
                       sum(value_start) AS value_start, sum(value_end) AS value_end,
                       sum(flows) AS flows, sum(positive_flows) AS positive_flows
                  FROM unnest(%(currencies)s::text[], %(providers)s::bigint[],
                              %(starts)s::numeric[], %(ends)s::numeric[], %(flows)s::numeric[],
                              %(positives)s::numeric[])
                       AS t (currency, providers, value_start, value_end, flows, positive_flows)
                 GROUP BY currency) AS summed) AS earned
 ORDER BY currency
"""  # noqa: S608 - constants of ours only
