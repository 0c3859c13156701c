-- Finding what somebody did, or who did something, without reading the whole log back.
CREATE INDEX audit_entries_by_actor ON audit_entries (actor, seq);
CREATE INDEX audit_entries_by_action ON audit_entries (action, seq);
-- Where in the log a time is.
CREATE INDEX audit_entries_by_time ON audit_entries (at, seq);
