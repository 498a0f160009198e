#include "derive/corrections.hpp"

#include "derive/attachment.hpp"
#include "derive/quarantine.hpp"
#include "derive/write_as.hpp"
#include "pg/settings.hpp"

extern "C" {
#include "catalog/pg_type.h"
#include "storage/lmgr.h"
#include "utils/lsyscache.h"
}

namespace sliding_sync {

namespace {

bool has_own_rows = false;

const char* state_cases(const Finding& finding, std::string_view column) {
    const bool is_emptied = !finding.expected || finding.expected == "false";
    if (finding.table == std::string_view(membership_snapshots_table)) {
        return is_emptied ? "D18 D19 D30" : "";
    }
    if (column == "tombstone_successor_room_id") {
        return is_emptied ? "D1 D2 D4 H92" : "";
    }
    if (column == "room_type") {
        return is_emptied ? "D4" : "";
    }
    return is_emptied ? "D2 D3 D4 H92" : "D4";
}

// The cases of docs/differences.md that give such a difference: the values do not say which of them it was.
const char* case_codes(const Finding& finding) {
    const bool is_room = finding.table == std::string_view(joined_rooms_table);
    if (finding.column == nullptr) {
        return is_room ? "D12" : "H48 H50";
    }
    const std::string_view column = finding.column;
    switch (finding.reason) {
    case FindingReason::ordering_ahead:
        return "D5 D6 H27";
    case FindingReason::stale_ordering:
        return "D7";
    case FindingReason::wrong_forgotten:
        return finding.expected == "true" ? "D21 A5" : "H79";
    default:
        break;
    }
    if (column == "event_instance_name") {
        return "D20 H45";
    }
    if (column == "has_known_state") {
        return finding.expected == "true" ? "D22" : "D24";
    }
    const bool is_state = column == "room_type" || column == "room_name" || column == "is_encrypted" ||
                          column == "tombstone_successor_room_id";
    return is_state ? state_cases(finding, column) : "";
}

struct Needed {
    const char* relation;
    LOCKMODE mode;
};
constexpr std::array<Needed, 3> needed_to_log{{{"corrections", RowExclusiveLock},
                                               {"corrections_pkey", RowExclusiveLock},
                                               {"corrections_correction_id_seq", RowExclusiveLock}}};
constexpr std::array<Needed, 3> needed_to_look{{{"homeservers", AccessShareLock},
                                                {"attachments", AccessShareLock},
                                                {"attachments_pkey", AccessShareLock}}};

// Whoever has locked one of them, such as an administrator in the middle of an update, is not waited for.
bool lock_now(std::span<const Needed> needed) {
    return std::all_of(needed.begin(), needed.end(), [](const Needed& one) {
        const Oid relation = extension_relation(one.relation);
        return OidIsValid(relation) &&
               call_pg([&] { return ConditionalLockRelationOid(relation, one.mode); });
    });
}

Oid log_owner() {
    const Oid log = extension_relation("corrections");
    return call_pg([&] { return relation_owner(log); });
}

// The first and the last number are an index look-up each.
void insert_corrections(Oid owner, const std::string& schema_name, const Findings& corrections) {
    static Statement insert("insert_corrections", sql_text(R"(
                                INSERT INTO sliding_sync.corrections (schema_name, table_name, column_name,
                                    case_codes, homeserver_value, corrected_value)
                                SELECT $1, k.table_name, k.column_name, k.case_codes,
                                    pg_catalog."left"(k.homeserver_value, 500),
                                    pg_catalog."left"(k.corrected_value, 500)
                                FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),
                                    pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6))
                                    k(table_name, column_name, case_codes, homeserver_value, corrected_value)
                                WHERE COALESCE((SELECT pg_catalog.max(c.correction_id)
                                    %- pg_catalog.min(c.correction_id) FROM sliding_sync.corrections c), 0)
                                    %< 10000)"),
                            {TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID});
    std::vector<std::string_view> tables;
    std::vector<std::optional<std::string_view>> columns;
    std::vector<std::string_view> codes;
    std::vector<std::optional<std::string_view>> actual;
    std::vector<std::optional<std::string_view>> expected;
    for (const Finding& finding : corrections) {
        tables.emplace_back(finding.table);
        columns.push_back(finding.column != nullptr ? std::optional<std::string_view>(finding.column)
                                                    : std::nullopt);
        codes.emplace_back(case_codes(finding));
        actual.emplace_back(finding.actual);
        expected.emplace_back(finding.expected);
    }
    const WriteAs writer(owner);
    const SpiConnection connection;
    insert.run(Arguments()
                   .text(schema_name)
                   .texts(tables)
                   .texts(columns)
                   .texts(codes)
                   .texts(actual)
                   .texts(expected));
}

}  // namespace

bool may_note_corrections() noexcept {
    return logs_corrections && !has_own_rows;
}

void note_own_rows() noexcept {
    has_own_rows = true;
}

void forget_own_rows() noexcept {
    has_own_rows = false;
}

void log_corrections(const HomeserverSchema& schema, const Findings& corrections) {
    if (corrections.empty() || is_serializable()) {
        return;
    }
    (void)run_in_subtransaction(
        [&] {
            if (lock_now(needed_to_log) && lock_now(needed_to_look) && is_attached(schema.namespace_oid)) {
                insert_corrections(log_owner(), schema.unquoted_name, corrections);
            }
        },
        Swallow::all_but_cancel);
}

void prune_corrections() {
    static Statement prune("prune_corrections", sql_text(R"(
                               DELETE FROM sliding_sync.corrections d WHERE d.correction_id %= ANY (ARRAY(
                                   SELECT c.correction_id FROM sliding_sync.corrections c
                                   WHERE c.corrected_at %< (pg_catalog.now() %- '30 days'::interval)
                                   OR c.correction_id %< (SELECT pg_catalog.max(x.correction_id) %- 5000
                                       FROM sliding_sync.corrections x HAVING (pg_catalog.max(x.correction_id)
                                       %- pg_catalog.min(x.correction_id)) %>= 10000)
                                   FOR UPDATE SKIP LOCKED)))"),
                           {});
    (void)run_in_subtransaction(
        [&] {
            if (lock_now(needed_to_log)) {
                const WriteAs writer(log_owner());
                const SpiConnection connection;
                prune.run(Arguments());
            }
        },
        Swallow::all_but_cancel);
}

}  // namespace sliding_sync
