-- Prices of what providers hold, by day, and which symbol and scale each provider's balance has.
-- Nothing here is read or written by ingest, the ticker or the syncer.

-- What one unit of a symbol costs in a currency on a day. It counts from that day on until a later one.
-- `source` and `source_id` are its name where it comes from, `version` counts the changes there. One
-- that was removed keeps its name and version alone, so that a late change of an older version does
-- not bring it back. Symbols and currencies are compared byte by byte, whatever the database's
-- collation, which a new version of the operating system may change.
CREATE TABLE price (
    symbol    text COLLATE "C",
    currency  text COLLATE "C",
    day       date,
    price     numeric,
    source    text   NOT NULL DEFAULT 'sql',
    source_id text   NOT NULL DEFAULT gen_random_uuid()::text,
    version   bigint,
    CONSTRAINT price_pkey PRIMARY KEY (source, source_id),
    CONSTRAINT price_day_key UNIQUE (symbol, currency, day),
    CONSTRAINT price_removed_check CHECK (num_nulls(symbol, currency, day, price) IN (0, 4)),
    CONSTRAINT price_symbol_check CHECK (symbol <> ''),
    CONSTRAINT price_currency_check CHECK (currency ~ '^[A-Z0-9]{1,16}$'),
    CONSTRAINT price_day_check CHECK (isfinite(day)),
    -- NaN counts as larger than Infinity
    CONSTRAINT price_price_check CHECK (price >= 0 AND price < 'Infinity')
);

-- A provider's balance is in units of 10^-scale of its symbol: 1900 of EUR with scale 2 is 19.00 EUR.
CREATE TABLE provider_symbol (
    provider_id bigint  NOT NULL,
    symbol      text    COLLATE "C" NOT NULL,
    scale       integer NOT NULL,
    CONSTRAINT provider_symbol_pkey PRIMARY KEY (provider_id),
    CONSTRAINT provider_symbol_symbol_check CHECK (symbol <> ''),
    CONSTRAINT provider_symbol_scale_check CHECK (scale BETWEEN 0 AND 18)
);

SELECT minutebook_grant_rights();
