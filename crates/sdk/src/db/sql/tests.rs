use super::*;

fn summary(sql: &str) -> String {
    read("postgresql", sql).summary
}

fn text(system: &str, sql: &str) -> String {
    read(system, sql).text
}

#[test]
fn a_summary_names_the_operations_and_their_tables() {
    for (sql, expected) in [
        ("SELECT name FROM images WHERE id = ?", "SELECT images"),
        ("select * from shop.images i, tags as t where i.id = t.image", "SELECT shop.images tags"),
        ("SELECT a FROM images i LEFT JOIN \"Image Tags\" t ON i.id = t.id", "SELECT images Image Tags"),
        ("SELECT * FROM (SELECT id FROM orders) o JOIN people p ON p.id = o.id", "SELECT SELECT orders people"),
        ("SELECT extract(year FROM day), trim(both 'x' from name) FROM days", "SELECT days"),
        ("SELECT replace(name, 'a', 'b') FROM t FOR UPDATE", "SELECT t"),
        ("INSERT INTO images (id, title) VALUES (1, 'a')", "INSERT images"),
        ("INSERT OR REPLACE INTO images VALUES (?1)", "INSERT images"),
        ("INSERT INTO a SELECT x FROM b ON CONFLICT (id) DO UPDATE SET x = 1", "INSERT a SELECT b"),
        ("UPDATE ONLY images SET title = 'b' WHERE id = 3", "UPDATE images"),
        ("DELETE FROM images", "DELETE images"),
        ("WITH old AS (DELETE FROM images RETURNING id) SELECT * FROM old", "DELETE images SELECT old"),
        ("CREATE TABLE IF NOT EXISTS images (id INTEGER PRIMARY KEY)", "CREATE TABLE images"),
        ("DROP INDEX by_tag", "DROP INDEX by_tag"),
        ("SELECT * FROM images, pg_sleep($1) WHERE id = 1", "SELECT images"),
        ("SELECT * FROM generate_series(1, 3)", "SELECT"),
        ("BEGIN", "BEGIN"),
        ("PRAGMA journal_mode = WAL", "PRAGMA"),
        ("/* from the shop */ SELECT 1 -- FROM nowhere", "SELECT"),
        ("EXPLAIN SELECT * FROM images", "SELECT images"),
        ("", ""),
    ] {
        assert_eq!(summary(sql), expected, "{sql}");
    }
}

#[test]
fn a_text_has_no_literals_and_keeps_placeholders() {
    for (system, sql, expected) in [
        ("postgresql", "SELECT a FROM t WHERE b = 'it''s' AND c = $1", "SELECT a FROM t WHERE b = ? AND c = $1"),
        ("postgresql", "SELECT $$secret$$, $q$se$$cret$q$, E'a\\'secret', U&'secret'", "SELECT ?"),
        (
            "postgresql",
            "SELECT 'a\\', b FROM \"t\" WHERE c = :name::text",
            "SELECT ?, b FROM \"t\" WHERE c = :name::text",
        ),
        ("postgresql", "SELECT 1.5e-3, .5, 0xff, t2.c3, 1_000", "SELECT ?, t2.c3, ?"),
        ("postgresql", "SELECT * FROM t WHERE id IN (1, 2,\n 3)", "SELECT * FROM t WHERE id IN (?)"),
        ("postgresql", "/* user 'secret' /* nested */ secret */ SELECT 1", "SELECT ?"),
        ("postgresql", "SELECT 'never closed secret", "SELECT ?"),
        ("mysql", "SELECT \"secret\", 'a\\'secret', `name` # secret\nFROM t", "SELECT ?, `name` FROM t"),
        ("sqlite", "SELECT \"secret\" FROM \"images\" WHERE \"images\".\"id\" = ?1", {
            "SELECT ? FROM \"images\" WHERE \"images\".\"id\" = ?1"
        }),
        ("sqlite", "SELECT x'53454352', @name", "SELECT ?, @name"),
    ] {
        assert_eq!(text(system, sql), expected, "{sql}");
    }
}

#[test]
fn generated_queries_stay_small() {
    let long =
        format!("SELECT * FROM {} WHERE a = 'secret'", (0..9_999).map(|n| format!("table_{n}, ")).collect::<String>());
    let read = read("sqlite", &long);
    assert!(read.text.len() <= MOST_TEXT_BYTES + 4 && read.summary.len() <= MOST_SUMMARY_BYTES);
    assert!(read.text.ends_with('…') && read.summary.starts_with("SELECT table_0 table_1 "));
}

proptest::proptest! {
    #[test]
    fn any_text_is_read(sql in ".*") {
        for system in ["postgresql", "mysql", "sqlite"] {
            read(system, &sql);
        }
    }

    #[test]
    fn a_literal_stays_here_whatever_it_is(value in "[ -~]*") {
        let mark = "SECRET7";
        let value = format!("{value}{mark}{value}").replace('\'', "''");
        let sql = format!("SELECT a FROM t WHERE b = '{value}' AND c = 1");
        for system in ["postgresql", "sqlite"] {
            proptest::prop_assert_eq!(text(system, &sql), "SELECT a FROM t WHERE b = ? AND c = ?");
        }
        let sql = format!("SELECT a FROM t WHERE b = '{}' AND c = 1", value.replace('\\', "\\\\"));
        proptest::prop_assert_eq!(text("mysql", &sql), "SELECT a FROM t WHERE b = ? AND c = ?");
    }
}
