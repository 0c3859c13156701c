-- Who published a dead letter, by the bus's word: what a node said about another is not sent round
-- again in the control plane's name. Of older letters nobody is known.
ALTER TABLE dead_letters ADD COLUMN sender TEXT NOT NULL DEFAULT 'user:';
