// The extension's settings (GUCs).
#pragma once

namespace sliding_sync {

/// `sliding_sync.enabled`: off makes the triggers inert in this session, for bulk copies (H35).
extern bool enabled;

/// `sliding_sync.on_failure`: what a failing refresh does to the homeserver's transaction
/// (docs/architecture.md#failure).
enum class OnFailure : int { quarantine, error };
extern int on_failure;

/// `sliding_sync.log_corrections`: what another writer wrote and a flush corrected goes to a log.
extern bool logs_corrections;

/// `sliding_sync.inject_fault`: names a statement that fails on purpose, for tests; superusers only. nullptr
/// or "" is none.
extern char* injected_fault;

void define_settings();

}  // namespace sliding_sync
