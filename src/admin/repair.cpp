#include "admin/repair.hpp"

#include "admin/repair_quarantine.hpp"
#include "admin/trigger_coverage.hpp"
#include "derive/corrections.hpp"
#include "derive/write_as.hpp"

extern "C" {
#include "catalog/pg_type.h"
}

namespace sliding_sync {

namespace {

using Json = std::optional<std::string>;

class Repair {
public:
    Repair(const VerifyOptions& options, bool dry_run, const std::function<void(const RepairedRow&)>& report)
        : options_(options), dry_run_(dry_run), report_(report),
          held_(homeserver_in(options.homeserver.namespace_oid)), homeserver_(*held_) {}

    void slice(const VerifiedSlice& found) {
        std::vector<RepairedRow> rows = rows_of(found);
        read_json(rows, &RepairedRow::before);
        if (!dry_run_) {
            const Refreshed done = refresh_slice(homeserver_, found);
            if (done.quarantined > 0) {
                repair_quarantine(
                    options_.homeserver.schema);  // what stood in a row's way may have been another wrong row
            }
            read_json(rows, &RepairedRow::after);
            keep(rows);
        }
        for (const RepairedRow& row : rows) {
            report_(row);
        }
    }

private:
    // One row for all findings of a key; findings of a key stand together.
    static std::vector<RepairedRow> rows_of(const VerifiedSlice& found) {
        std::vector<RepairedRow> rows;
        for (const Finding& finding : found.findings) {
            if (finding.severity == Severity::unverifiable) {
                continue;
            }
            const std::string reason = reason_code(finding.reason);
            if (rows.empty() || rows.back().table != finding.table ||
                rows.back().room_id != finding.room_id || rows.back().user_id != finding.user_id) {
                rows.push_back({finding.table, finding.room_id, finding.user_id, reason, {}, {}});
            } else if (rows.back().reasons.find(reason) == std::string::npos) {
                rows.back().reasons += ", " + reason;
            }
        }
        return rows;
    }

    void read_json(std::vector<RepairedRow>& rows, Json RepairedRow::*json) {
        const WriteAs reader(homeserver_.schema.derived_owner);
        const SpiConnection connection;
        for (RepairedRow& row : rows) {
            const std::string sql =
                sql_text("SELECT pg_catalog.to_jsonb(t.*)::text FROM %S." + std::string(row.table) +
                             " t WHERE t.room_id %= $1" + (row.user_id ? " AND t.user_id %= $2" : ""),
                         homeserver_.schema.name);
            std::vector<Oid> types(row.user_id ? 2 : 1, TEXTOID);
            Arguments arguments;
            arguments.text(row.room_id);
            if (row.user_id) {
                arguments.text(*row.user_id);
            }
            const Rows found = query_once(sql, types, arguments);
            row.*json = found.count > 0 ? found[0][0].optional_text() : std::nullopt;
        }
    }

    void keep(const std::vector<RepairedRow>& rows) {
        static Statement insert(
            "insert_repair",
            "INSERT INTO sliding_sync.repairs (schema_name, table_name, room_id, user_id, "
            "reasons, row_before, row_after) VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7::jsonb)",
            std::vector<Oid>(7, TEXTOID));
        const WriteAs writer(bookkeeper());
        const SpiConnection connection;
        for (const RepairedRow& row : rows) {
            insert.run(Arguments()
                           .text(options_.homeserver.schema)
                           .text(row.table)
                           .text(row.room_id)
                           .optional_text(row.user_id)
                           .text(row.reasons)
                           .optional_text(row.before)
                           .optional_text(row.after));
        }
    }

    const VerifyOptions& options_;
    bool dry_run_;
    const std::function<void(const RepairedRow&)>& report_;
    std::shared_ptr<Homeserver> held_;
    const Homeserver& homeserver_;
};

}  // namespace

void repair(const VerifyOptions& options, bool dry_run,
            const std::function<void(const RepairedRow&)>& report) {
    Repair work(options, dry_run, report);
    verify(options, [&](const VerifiedSlice& found) { work.slice(found); });
    if (!dry_run) {
        repair_quarantine(options.homeserver.schema);
        prune_corrections();
    }
}

}  // namespace sliding_sync
