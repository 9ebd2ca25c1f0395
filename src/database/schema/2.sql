-- Version 2: new and changed closed bars of trading.ohlcv are announced, so that whoever follows the table need not poll it.

CREATE FUNCTION trading.announce_ohlcv() RETURNS trigger LANGUAGE plpgsql AS $announce$
BEGIN
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
COMMENT ON FUNCTION trading.announce_ohlcv() IS 'Announces closed bars that are new or have changed on the channel vela_bars.';

CREATE TRIGGER vela_announce_insert AFTER INSERT ON trading.ohlcv
    REFERENCING NEW TABLE AS bars FOR EACH STATEMENT EXECUTE FUNCTION trading.announce_ohlcv();
CREATE TRIGGER vela_announce_update AFTER UPDATE ON trading.ohlcv
    REFERENCING NEW TABLE AS bars FOR EACH STATEMENT EXECUTE FUNCTION trading.announce_ohlcv();
