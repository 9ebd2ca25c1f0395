-- Version 3: a lone bar is announced with its numbers, so that whoever follows the table need not ask for it first.

CREATE OR REPLACE FUNCTION trading.announce_ohlcv() RETURNS trigger LANGUAGE plpgsql AS $announce$
DECLARE
    bar trading.ohlcv%ROWTYPE;
BEGIN
    -- As a live feed commits them: one at a time. The numbers go as their bits, which no setting of the feed's rounds.
    SELECT * INTO bar FROM bars WHERE (SELECT count(*) FROM bars) = 1;
    IF FOUND AND octet_length(bar.symbol) + octet_length(bar.timeframe) <= 500 THEN
        IF bar.closed AND isfinite(bar.ts) THEN
            PERFORM pg_notify('vela_bars', json_build_array(TG_RELID::bigint, json_build_array(
                bar.symbol, bar.timeframe, floor(extract(epoch FROM bar.ts) * 1000)::bigint,
                encode(float8send(bar.open) || float8send(bar.high) || float8send(bar.low) || float8send(bar.close)
                       || float8send(bar.volume), 'hex')))::text);
        END IF;
        RETURN NULL;
    END IF;
    -- A hint: which series have new bars, and from which time on, some hundred series a notification. Never as long as the
    -- 8000 bytes from which on it would fail, and the feed's transaction with it.
    PERFORM pg_notify('vela_bars', '[' || TG_RELID || ',' || string_agg(entry, ',') || ']')
    FROM (
        SELECT entry, sum(octet_length(entry) + 1) OVER (ORDER BY entry ROWS UNBOUNDED PRECEDING) / 6000 AS part
        FROM (
            SELECT CASE WHEN octet_length(named) <= 1000 THEN named ELSE 'null' END AS entry
            FROM (
                SELECT json_build_array(symbol, timeframe, floor(extract(epoch FROM min(ts)) * 1000)::bigint)::text AS named
                FROM bars WHERE closed AND isfinite(ts) GROUP BY symbol, timeframe
            ) AS series
        ) AS short
    ) AS parts
    GROUP BY part;
    RETURN NULL;
END
$announce$;
