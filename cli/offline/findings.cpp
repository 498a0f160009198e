#include "cli/offline/findings.hpp"

namespace sliding_sync::cli::offline {

Rows rows_of(const Findings& findings) {
    Rows rows;
    rows.columns = {"table_name", "room_id", "user_id", "column_name",
                    "expected",   "actual",  "reason",  "severity"};
    rows.is_number.assign(rows.columns.size(), false);
    for (const Finding& finding : findings) {
        rows.values.push_back({finding.table, finding.room_id, finding.user_id,
                               finding.column != nullptr ? Value(finding.column) : std::nullopt,
                               finding.expected, finding.actual, reason_code(finding.reason),
                               severity_code(finding.severity)});
    }
    return rows;
}

}  // namespace sliding_sync::cli::offline
