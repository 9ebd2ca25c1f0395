-- Version 4: a start asks for the highest revision. Rows that are answered once are in no index but the key's.

CREATE INDEX agentpreds_revised ON trading.agentpreds (revision) WHERE revision > 0;
CREATE INDEX inference_errors_revised ON trading.inference_errors (revision) WHERE revision > 0;
COMMENT ON COLUMN trading.agentpreds.revision IS 'Higher each time the bar was answered anew; of each bar, horizon and model the highest is in force.';
