"""What an extension has put into a database, as text that can be compared: objects, definitions, rights, comments, settings."""

from __future__ import annotations

from typing import Any

import psycopg

_MEMBERS = """
    SELECT d.classid, d.objid FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
    WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND e.extname = 'sliding_sync'
"""
_RIGHTS = "(SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest({}) a)"

# Each query: the kind of object, its name, what is to be the same. Numbers of rows (oid) appear nowhere.
_QUERIES = {
    "member": f"""
        SELECT pg_describe_object(m.classid, m.objid, 0), coalesce(obj_description(m.objid, m.classid::regclass::name), '')
        FROM ({_MEMBERS}) m""",
    "extension": """
        SELECT extname, concat_ws(' | ', extnamespace::regnamespace, extrelocatable,
                (SELECT string_agg(c::regclass::text || ' ' || w, ', ' ORDER BY c::regclass::text)
                 FROM unnest(extconfig, extcondition) x (c, w)))
        FROM pg_extension WHERE extname = 'sliding_sync'""",
    "schema": f"""
        SELECT nspname, concat_ws(' | ', nspowner::regrole, {_RIGHTS.format("nspacl")})
        FROM pg_namespace WHERE nspname = 'sliding_sync'""",
    "function": f"""
        SELECT p.oid::regprocedure::text, concat_ws(' | ', pg_get_functiondef(p.oid), p.proowner::regrole,
            {_RIGHTS.format("coalesce(p.proacl, acldefault('f', p.proowner))")})
        FROM pg_proc p JOIN ({_MEMBERS}) m ON m.classid = 'pg_proc'::regclass AND m.objid = p.oid""",
    "relation": f"""
        SELECT c.oid::regclass::text, concat_ws(' | ', c.relkind, c.relowner::regrole, c.reloptions, c.relrowsecurity,
            c.relreplident, c.relpersistence, CASE WHEN c.relkind = 'v' THEN pg_get_viewdef(c.oid) END,
            {_RIGHTS.format('coalesce(c.relacl, acldefault(CASE c.relkind WHEN $$S$$ THEN $$s$$ ELSE $$r$$ END::"char", c.relowner))')})
        FROM pg_class c WHERE c.relnamespace = 'sliding_sync'::regnamespace AND c.relkind IN ('r', 'v', 'S')""",
    "column": f"""
        SELECT format('%s.%s', c.oid::regclass, a.attname), concat_ws(' | ', a.attnum, format_type(a.atttypid, a.atttypmod),
            a.attnotnull, a.attidentity, a.attstorage, pg_get_expr(d.adbin, d.adrelid), {_RIGHTS.format("a.attacl")},
            col_description(c.oid, a.attnum))
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'sliding_sync'::regnamespace AND c.relkind IN ('r', 'v')""",
    "sequence": """
        SELECT schemaname || '.' || sequencename, concat_ws(' | ', data_type, start_value, min_value, max_value, increment_by,
            cycle, cache_size)
        FROM pg_sequences WHERE schemaname = 'sliding_sync'""",
    "constraint": """
        SELECT format('%s %s', conrelid::regclass, conname), pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = 'sliding_sync'::regnamespace""",
    "index": """
        SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
        FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relnamespace = 'sliding_sync'::regnamespace""",
    # its own tables' and the homeserver's
    "trigger": """
        SELECT format('%s %s', t.tgrelid::regclass, t.tgname), concat_ws(' | ', pg_get_triggerdef(t.oid), t.tgenabled,
            (SELECT string_agg(d.deptype::text, '' ORDER BY d.deptype) FROM pg_depend d
             WHERE d.classid = 'pg_trigger'::regclass AND d.objid = t.oid AND d.refclassid = 'pg_extension'::regclass))
        FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
        WHERE NOT t.tgisinternal AND p.pronamespace = 'sliding_sync'::regnamespace""",
    "setting": """
        SELECT name, concat_ws(' | ', setting, unit, category, short_desc, extra_desc, context, vartype, min_val, max_val,
            enumvals, boot_val)
        FROM pg_settings WHERE name LIKE 'sliding_sync.%'""",
    "dependency": """
        SELECT pg_describe_object(d.classid, d.objid, d.objsubid), string_agg(DISTINCT
            pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) || ' ' || d.deptype::text, ', ')
        FROM pg_depend d WHERE d.classid IN ('pg_class'::regclass, 'pg_proc'::regclass)
            AND pg_describe_object(d.classid, d.objid, d.objsubid) ~ ' sliding_sync[.]' GROUP BY 1""",
}


def installed(connection: psycopg.Connection[Any]) -> dict[tuple[str, str], str]:
    """Of the extension sliding_sync in this database."""
    connection.execute("LOAD '$libdir/sliding_sync'")  # for its settings
    connection.execute("SET search_path = pg_catalog")
    found: dict[tuple[str, str], str] = {}
    for kind, query in _QUERIES.items():
        for name, text in connection.execute(query).fetchall():  # type: ignore[arg-type]
            assert (kind, name) not in found, f"{kind} {name} twice"
            found[kind, name] = text
    return found


def differences(one: dict[tuple[str, str], str], other: dict[tuple[str, str], str]) -> list[str]:
    return [
        f"{' '.join(key)}:\n    {one.get(key, '(absent)')}\n    {other.get(key, '(absent)')}"
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]
