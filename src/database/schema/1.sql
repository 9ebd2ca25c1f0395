-- The tables that vela reads and writes, version 1. Times are UTC; a bar's time is when it opens.

CREATE TABLE trading.ohlcv (
    symbol    text             NOT NULL,
    timeframe text             NOT NULL,
    ts        timestamptz      NOT NULL,
    open      double precision NOT NULL,
    high      double precision NOT NULL,
    low       double precision NOT NULL,
    close     double precision NOT NULL,
    volume    double precision NOT NULL,
    closed    boolean          NOT NULL DEFAULT true,
    PRIMARY KEY (symbol, timeframe, ts)
);
COMMENT ON TABLE trading.ohlcv IS 'Bars, written by a feed. A row whose closed is false is not predicted before it is true.';

CREATE TABLE trading.agentpreds (
    symbol     text             NOT NULL,
    timeframe  text             NOT NULL,
    horizon    bigint           NOT NULL,
    ts         timestamptz      NOT NULL,
    model      text             NOT NULL,
    version    bigint           NOT NULL,
    value      double precision NOT NULL,
    outputs    json,
    latency_us double precision,
    ingest_us  double precision,
    feature_us double precision,
    predict_us double precision,
    created_at timestamptz      NOT NULL,
    revision   bigint           NOT NULL DEFAULT 0,
    PRIMARY KEY (symbol, timeframe, horizon, ts, model, version, revision)
);
COMMENT ON TABLE trading.agentpreds IS 'Predictions: one for every bar, horizon and model; of several revisions the highest is in force.';
COMMENT ON COLUMN trading.agentpreds.horizon IS 'Bars ahead.';
COMMENT ON COLUMN trading.agentpreds.outputs IS 'Every output of a model that has several, by name.';
COMMENT ON COLUMN trading.agentpreds.latency_us IS 'From the arrival of the bar to the end of its prediction.';

CREATE TABLE trading.inference_errors (
    symbol     text        NOT NULL,
    timeframe  text        NOT NULL,
    horizon    bigint      NOT NULL,
    ts         timestamptz NOT NULL,
    reason     text        NOT NULL,
    model      text        NOT NULL DEFAULT '',
    detail     text        NOT NULL,
    created_at timestamptz NOT NULL,
    revision   bigint      NOT NULL DEFAULT 0,
    PRIMARY KEY (symbol, timeframe, horizon, ts, reason, model, revision)
);
COMMENT ON TABLE trading.inference_errors IS 'What has no prediction, and why; horizon 0 where it concerns the bar itself.';

CREATE TABLE trading.inference_state (
    symbol    text        NOT NULL,
    timeframe text        NOT NULL,
    watermark timestamptz NOT NULL,
    PRIMARY KEY (symbol, timeframe)
);
COMMENT ON TABLE trading.inference_state IS 'How far each series is done: every outcome up to the watermark is stored, or in the spool.';

CREATE TABLE trading.inference_metrics (
    symbol         text             NOT NULL,
    measured_at    timestamptz      NOT NULL,
    predictions    bigint           NOT NULL,
    errors         bigint           NOT NULL,
    latency_avg_ms double precision NOT NULL,
    latency_max_ms double precision NOT NULL,
    host           text             NOT NULL,
    pid            bigint           NOT NULL,
    PRIMARY KEY (symbol, measured_at, host, pid)
);
COMMENT ON TABLE trading.inference_metrics IS 'The performance of each symbol since its process started, entered now and then.';

CREATE TABLE trading.alerts (
    at       timestamptz NOT NULL,
    code     text        NOT NULL,
    subject  text        NOT NULL,
    severity text        NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    state    text        NOT NULL CHECK (state IN ('raised', 'repeated', 'cleared')),
    detail   text        NOT NULL,
    count    bigint      NOT NULL,
    host     text        NOT NULL,
    pid      bigint      NOT NULL,
    PRIMARY KEY (at, code, subject, state, host, pid)
);
COMMENT ON TABLE trading.alerts IS 'What needed somebody''s attention: a row when it was raised, repeated, and cleared.';
COMMENT ON COLUMN trading.alerts.count IS 'How often it was seen since it was raised.';
