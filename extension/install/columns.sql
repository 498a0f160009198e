-- What every column holds that is not described beside its table or view.

COMMENT ON COLUMN sliding_sync.attachments.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.attachments.attached_at IS 'when attach() was called';
COMMENT ON COLUMN sliding_sync.attachments.attached_by IS 'the session''s role of that call';

COMMENT ON COLUMN sliding_sync.bypassed_writes.write_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.bypassed_writes.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.bypassed_writes.recorded_at IS 'when the change was made';
COMMENT ON COLUMN sliding_sync.bypassed_writes.role_name IS 'the session''s role';
COMMENT ON COLUMN sliding_sync.bypassed_writes.application_name IS 'the session''s application_name';

COMMENT ON COLUMN sliding_sync.quarantine.entry_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.quarantine.recorded_at IS 'when the row was removed';
COMMENT ON COLUMN sliding_sync.quarantine.room_id IS 'first part of the row''s key; empty when the rows concerned could not be found out';
COMMENT ON COLUMN sliding_sync.quarantine.sqlstate IS 'of the error';
COMMENT ON COLUMN sliding_sync.quarantine.message IS 'of the error';

COMMENT ON COLUMN sliding_sync.repairs.repair_id IS 'number of the record';
COMMENT ON COLUMN sliding_sync.repairs.repaired_at IS 'when the row was changed';
COMMENT ON COLUMN sliding_sync.repairs.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.repairs.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.repairs.room_id IS 'first part of the row''s key';

COMMENT ON COLUMN sliding_sync.run_ranges.run_id IS 'the run that it is a part of';
COMMENT ON COLUMN sliding_sync.run_ranges.range_number IS 'its number within the run';
COMMENT ON COLUMN sliding_sync.run_ranges.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.run_ranges.is_done IS 'nothing is left to do in it';
COMMENT ON COLUMN sliding_sync.run_ranges.items_done IS 'rooms, or memberships';
COMMENT ON COLUMN sliding_sync.run_ranges.rows_written IS 'rows that were missing or wrong';
COMMENT ON COLUMN sliding_sync.run_ranges.work_seconds IS 'time that its batches took';
COMMENT ON COLUMN sliding_sync.run_ranges.throttled_seconds IS 'time that sessions rested after them';
COMMENT ON COLUMN sliding_sync.run_ranges.updated_at IS 'end of its last batch; NULL: not begun';

COMMENT ON COLUMN sliding_sync.runs.run_id IS 'number of the run';
COMMENT ON COLUMN sliding_sync.runs.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.runs.tables IS 'which derived tables: joined_rooms, memberships or both';
COMMENT ON COLUMN sliding_sync.runs.started_at IS 'when the first call began';
COMMENT ON COLUMN sliding_sync.runs.finished_at IS 'when nothing was left to do; NULL: it is not finished';

COMMENT ON COLUMN sliding_sync.trigger_coverage.schema_name IS 'schema of the homeserver''s tables';

COMMENT ON COLUMN sliding_sync.coverage_gaps.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.coverage_gaps.table_name IS 'the table';

COMMENT ON COLUMN sliding_sync.derived_tables.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.derived_tables.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.derived_tables.owner_name IS 'its owner';
COMMENT ON COLUMN sliding_sync.derived_tables.live_rows IS 'as the server''s statistics count them';
COMMENT ON COLUMN sliding_sync.derived_tables.dead_rows IS 'versions of rows that VACUUM has not removed yet';
COMMENT ON COLUMN sliding_sync.derived_tables.updates IS 'rows, since the server''s statistics were reset';
COMMENT ON COLUMN sliding_sync.derived_tables.deletes IS 'rows, since the server''s statistics were reset';

COMMENT ON COLUMN sliding_sync.health.detail IS 'the finding, in a sentence';
COMMENT ON COLUMN sliding_sync.health.remedy IS 'the command that cures it';

COMMENT ON COLUMN sliding_sync.homeserver_tables.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.homeserver_tables.table_oid IS 'the table';
COMMENT ON COLUMN sliding_sync.homeserver_tables.table_name IS 'its name';
COMMENT ON COLUMN sliding_sync.homeserver_tables.is_derived IS 'it is one of the two that the extension writes';

COMMENT ON COLUMN sliding_sync.homeserver_triggers.schema_name IS 'schema of the table';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.table_oid IS 'the table';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.table_name IS 'its name';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.trigger_oid IS 'the trigger';
COMMENT ON COLUMN sliding_sync.homeserver_triggers.trigger_name IS 'its name';

COMMENT ON COLUMN sliding_sync.homeservers.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.homeservers.namespace_oid IS 'the same, by number';
COMMENT ON COLUMN sliding_sync.homeservers.attached_at IS 'when attach() was called';
COMMENT ON COLUMN sliding_sync.homeservers.attached_by IS 'the session''s role of that call';

COMMENT ON COLUMN sliding_sync.metrics.name IS 'of the metric';
COMMENT ON COLUMN sliding_sync.metrics.labels IS 'names and values, as an object';
COMMENT ON COLUMN sliding_sync.metrics.value IS 'the number';

COMMENT ON COLUMN sliding_sync.missing_columns.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.missing_columns.table_name IS 'the table';
COMMENT ON COLUMN sliding_sync.missing_columns.column_name IS 'the column';
COMMENT ON COLUMN sliding_sync.missing_columns.needed_type IS 'the type that it must have';

COMMENT ON COLUMN sliding_sync.needed_indexes.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.needed_indexes.table_name IS 'the table';
COMMENT ON COLUMN sliding_sync.needed_indexes.state IS 'valid, invalid (not built to its end) or missing';
COMMENT ON COLUMN sliding_sync.needed_indexes.invalid_index IS 'one that was not built to its end';
COMMENT ON COLUMN sliding_sync.needed_indexes.remedy IS 'builds it; NULL: there is one';

COMMENT ON COLUMN sliding_sync.progress.run_id IS 'number of the run';
COMMENT ON COLUMN sliding_sync.progress.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.progress.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.progress.rows_written IS 'rows that were missing or wrong';
COMMENT ON COLUMN sliding_sync.progress.throttled_seconds IS 'time that sessions rested';
COMMENT ON COLUMN sliding_sync.progress.last_user IS 'second part of that key, for memberships';
COMMENT ON COLUMN sliding_sync.progress.started_at IS 'when the first call began';
COMMENT ON COLUMN sliding_sync.progress.updated_at IS 'end of the last batch; NULL: none has ended';

COMMENT ON COLUMN sliding_sync.quarantine_counts.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.quarantine_counts.keys IS 'how many';
COMMENT ON COLUMN sliding_sync.quarantine_counts.is_estimate IS 'there are more than 1000 in all';
COMMENT ON COLUMN sliding_sync.quarantine_counts.reasons IS 'of the newest ones, with the SQLSTATE of each';
COMMENT ON COLUMN sliding_sync.quarantine_counts.last_entry IS 'the newest one';

COMMENT ON COLUMN sliding_sync.run_tables.run_id IS 'number of the run';
COMMENT ON COLUMN sliding_sync.run_tables.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.run_tables.table_name IS 'the derived table';
COMMENT ON COLUMN sliding_sync.run_tables.started_at IS 'beginning of the run';
COMMENT ON COLUMN sliding_sync.run_tables.is_done IS 'the run has nothing more to do for this table';
COMMENT ON COLUMN sliding_sync.run_tables.updated_at IS 'end of the last batch; NULL: none has ended';
COMMENT ON COLUMN sliding_sync.run_tables.items_done IS 'rooms, or memberships';
COMMENT ON COLUMN sliding_sync.run_tables.items_total IS 'estimate';
COMMENT ON COLUMN sliding_sync.run_tables.rows_written IS 'rows that differed';
COMMENT ON COLUMN sliding_sync.run_tables.quarantined IS 'keys that went into quarantine';
COMMENT ON COLUMN sliding_sync.run_tables.work_seconds IS 'of all sessions together';
COMMENT ON COLUMN sliding_sync.run_tables.throttled_seconds IS 'pauses of all sessions together';
COMMENT ON COLUMN sliding_sync.run_tables.sessions IS 'process ids that are at work';

COMMENT ON COLUMN sliding_sync.role_settings.name IS 'of the setting';
COMMENT ON COLUMN sliding_sync.role_settings.value IS 'of the setting';

COMMENT ON COLUMN sliding_sync.schemas.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.schemas.has_derived_tables IS 'both are there and belong to the owner of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.schemas.complete_at IS 'when a backfill of everything was finished; NULL: never';
COMMENT ON COLUMN sliding_sync.schemas.caught_up_at IS 'when no wrong row was left';
COMMENT ON COLUMN sliding_sync.schemas.has_bypassed_writes IS 'a change may have escaped the triggers since then';
COMMENT ON COLUMN sliding_sync.schemas.has_quarantine IS 'rows are missing that could not be made';
COMMENT ON COLUMN sliding_sync.schemas.unfinished_run IS 'the next call of backfill() for the same rooms goes on with it';

COMMENT ON COLUMN sliding_sync.status.schema_name IS 'schema of the homeserver''s tables';
COMMENT ON COLUMN sliding_sync.status.library_version IS 'of the library; NULL: it cannot be loaded';
COMMENT ON COLUMN sliding_sync.status.extension_version IS 'of the SQL';
COMMENT ON COLUMN sliding_sync.status.is_ready IS 'may readers trust the derived tables?';
COMMENT ON COLUMN sliding_sync.status.reasons IS 'why not: codes of docs/diagnostics.md';
COMMENT ON COLUMN sliding_sync.status.triggers_found IS 'how many of the triggers are there';
COMMENT ON COLUMN sliding_sync.status.triggers_expected IS 'how many there should be';
COMMENT ON COLUMN sliding_sync.status.complete_at IS 'when a backfill of everything was finished; NULL: never';
COMMENT ON COLUMN sliding_sync.status.caught_up_at IS 'when no wrong row was left';
COMMENT ON COLUMN sliding_sync.status.bypassed_writes IS 'how many transactions'' changes escaped the triggers since then';
COMMENT ON COLUMN sliding_sync.status.quarantined IS 'how many keys are in quarantine: counted up to 1000 in all, estimated above';

COMMENT ON COLUMN sliding_sync.triggers.schema_name IS 'schema of the table';
COMMENT ON COLUMN sliding_sync.triggers.table_name IS 'the table';
COMMENT ON COLUMN sliding_sync.triggers.trigger_name IS 'the trigger';
