# Prints the statements of a fresh script that a released one lacks: what ALTER EXTENSION ... UPDATE has to run.
#
#   awk -f step.awk RELEASED BY_HAND FRESH
#
# Functions, procedures and views are replaced, which keeps their rights. What cannot be replaced (a table of before with
# another definition, a column of another type, an object that is gone) is BY_HAND, which comes first; whether the result is
# the same as a fresh installation, tests/test_update.py shows.

function first_line(text) { return substr(text, 1, index(text "\n", "\n") - 1) }

# "CREATE TABLE sliding_sync.runs (" is known by its first three words
function name_of(text,    word) {
    split(first_line(text), word, /[ (;]+/)
    return word[1] " " word[2] " " word[3]
}

function done_with(text) {
    if (FILENAME == ARGV[1]) {
        released[text] = 1
        released_name[name_of(text)] = 1
    } else if (text in released || text ~ /attach_at_creation/) {
        return
    } else if (text ~ /^CREATE (FUNCTION|PROCEDURE|VIEW) /) {
        sub(/^CREATE /, "CREATE OR REPLACE ", text)
        printf "%s\n", text
    } else if (text ~ /^CREATE (TABLE|SEQUENCE|INDEX|SCHEMA) / && name_of(text) in released_name) {
        printf "-- by hand, above: %s\n", name_of(text)
    } else if (text !~ /^(DO|SELECT|DROP) /) {
        printf "%s\n", text
    }
}

BEGIN {
    print "\\echo Use \"ALTER EXTENSION sliding_sync UPDATE\" to load this file. \\quit\n"
    print "SET LOCAL search_path = pg_catalog, pg_temp;"
}
FILENAME == ARGV[2] { print; next }
statement == "" && (/^--/ || /^\\/ || /^[ \t]*$/) { next }
{
    statement = statement $0 "\n"
    quotes += gsub(/\$\$/, "&")
    if (quotes % 2 == 0 && /;[ \t]*(--.*)?$/) {
        done_with(statement)
        statement = ""
        quotes = 0
    }
}
