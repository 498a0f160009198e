#include "shared/fact_sql.hpp"

#include "rules/event_types.hpp"

namespace sliding_sync {

namespace {

template <std::size_t count>
std::string sql_array(const std::array<std::string_view, count>& values) {
    std::string array = "ARRAY[";
    for (const std::string_view value : values) {
        array += (array.back() == '[' ? "'" : ",'") + std::string(value) + "'";
    }
    return array + "]";
}

// What is asked of a redacting event `e` with its JSON `j`.
std::string redacting_event(const OptionalTables& tables, const std::string& json) {
    return "(e.event_id IS NOT NULL AND j.event_id IS NOT NULL), " + is_rejected(tables, "e") +
           ", (e.room_id %= k.room_id), e.sender, " + json + ", j.internal_metadata";
}

std::string redacting_event_joins(const std::string& event_id) {
    return R"(
        LEFT JOIN %S.events e ON e.event_id %= )" +
           event_id + R"(
        LEFT JOIN %S.event_json j ON j.event_id %= )" +
           event_id;
}

}  // namespace

const std::string& relevant_types_array() {
    static const std::string array = sql_array(rules::relevant_state_types);
    return array;
}

const std::string& bump_types_array() {
    static const std::string array = sql_array(rules::bump_types);
    return array;
}

std::string is_rejected(const OptionalTables& tables, const std::string& event) {
    std::string condition = "(" + event + ".rejection_reason IS NOT NULL";
    if (tables.has_rejections) {
        condition += " OR EXISTS (SELECT FROM %S.rejections x WHERE x.event_id %= " + event + ".event_id)";
    }
    return condition + ")";
}

std::string latest_ordering(const OptionalTables& tables, const std::string& room) {
    return R"((
        SELECT e.stream_ordering
        FROM %S.events e
        WHERE e.room_id %= )" +
           room + R"( AND NOT e.outlier AND e.stream_ordering IS NOT NULL AND NOT )" +
           is_rejected(tables, "e") + R"(
        ORDER BY e.stream_ordering DESC LIMIT 1))";
}

std::string latest_bump_ordering(const OptionalTables& tables, const std::string& room) {
    return R"((
        SELECT e.stream_ordering
        FROM %S.events e
        WHERE e.room_id %= )" +
           room + R"( AND NOT e.outlier AND e.stream_ordering %> 0 AND e.type %= ANY ()" +
           bump_types_array() + R"() AND NOT )" + is_rejected(tables, "e") + R"(
        ORDER BY e.stream_ordering DESC LIMIT 1))";
}

std::string orderings_text(const OptionalTables& tables) {
    return "SELECT k.n, " + latest_ordering(tables, "k.room_id") + ", " +
           latest_bump_ordering(tables, "k.room_id") + " FROM %R";
}

std::string redactions_text(const OptionalTables& tables, RedactionJson json) {
    const std::string json_text =
        json == RedactionJson::of_all ? "j.json" : "CASE WHEN e.sender IS NULL THEN j.json END";
    return "SELECT k.n, " + std::string(tables.has_redaction_recheck ? "x.recheck" : "true") + ", " +
           redacting_event(tables, json_text) + R"(, x.event_id
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) WITH ORDINALITY k(event_id, room_id, n)
        JOIN %S.redactions x ON x.redacts %= k.event_id)" +
           redacting_event_joins("x.event_id");
}

std::string ban_redactions_text(const OptionalTables& tables) {
    return "SELECT k.n, x.redact_end_ordering, " + redacting_event(tables, "j.json") + R"(
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
            WITH ORDINALITY k(own_room_id, user_id, room_id, n)
        JOIN %S.room_ban_redactions x ON x.room_id %= k.own_room_id AND x.user_id %= k.user_id)" +
           redacting_event_joins("x.redacting_event_id");
}

std::string been_in_state_text(const OptionalTables& tables) {
    const std::string evidence = tables.has_state_changes ? R"(
            FROM %S.current_state_delta_stream d
            WHERE d.room_id %= e.room_id AND d.stream_id %>= e.stream_ordering AND d.event_id %= e.event_id)"
                                                          : R"(
            FROM %S.events o
            WHERE o.room_id %= e.room_id AND NOT o.outlier)";
    return R"(
        SELECT e.event_id
        FROM %S.events e
        WHERE e.event_id %= ANY ($1)
        -- a scalar, so that nothing but a look into an index can answer
        AND (SELECT 1)" +
           evidence + " LIMIT 1) IS NOT NULL";
}

std::string earlier_invites_text() {
    return R"(
        SELECT k.n, x.event_id, x.room_id, x.sender, x.stream_ordering, x.membership, x.json
        FROM ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2), pg_catalog.unnest($3))
            WITH ORDINALITY k(room_id, user_id, event_id, n)
        CROSS JOIN LATERAL (
            SELECT e.event_id, e.room_id, e.sender, e.stream_ordering, rm.membership, j.json
            FROM %S.room_memberships rm
            JOIN %S.events e ON e.event_id %= rm.event_id
            LEFT JOIN %S.event_json j ON j.event_id %= rm.event_id
            WHERE rm.room_id %= k.room_id AND rm.user_id %= k.user_id AND rm.event_id %<> k.event_id
                AND rm.membership %= ANY (ARRAY['invite','knock'])
            ORDER BY e.topological_ordering DESC, e.stream_ordering DESC LIMIT 1) x)";
}

std::string state_changes_text() {
    return R"(
        SELECT DISTINCT k.n, d.type, x.event_id
        FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n)
        JOIN %S.current_state_delta_stream d ON d.room_id %= k.room_id AND d.state_key %= ''
            AND d.type %= ANY ()" +
           relevant_types_array() + R"()
        CROSS JOIN LATERAL (VALUES (d.event_id), (d.prev_event_id)) x(event_id)
        WHERE x.event_id IS NOT NULL)";
}

std::string stored_state_events_text() {
    return R"(
        SELECT k.n, e.type, e.event_id
        FROM pg_catalog.unnest($1) WITH ORDINALITY k(room_id, n)
        JOIN %S.events e ON e.room_id %= k.room_id AND e.state_key %= ''
            AND e.type %= ANY ()" +
           relevant_types_array() + ")";
}

}  // namespace sliding_sync
