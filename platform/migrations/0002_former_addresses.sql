-- Where a node was before its latest hello, latest first, each followed by a space. Hellos keep no
-- order: when the bus finds nobody at the address, the hello that brought it may have been late,
-- and these are tried.
ALTER TABLE nodes ADD COLUMN former_addresses TEXT NOT NULL DEFAULT '';
