"""Dumps for the tests: hard rows with what they mean, and wrong ones with the byte that is wrong; small wikis."""

from __future__ import annotations

import gzip
import random
from dataclasses import dataclass, field
from pathlib import Path

HEAD = b"CREATE TABLE `t` (`id` int(8) unsigned NOT NULL, `ns` int(11), `title` varbinary(255), PRIMARY KEY (`id`));\n"
INTO = b"INSERT INTO `t` VALUES "
AB = b"(1,0,'A'),(2,0,'B');"
COMPLETED = b"-- Dump completed on 2024-09-02  3:04:05\n"

# What follows INTO, and the titles; the ids are 1, 2, 3, …
VALUES: dict[str, tuple[bytes, list[bytes | None]]] = {
    "one row": (b"(1,0,'A');", [b"A"]),
    "several rows a line": (b"(1,0,'A'),(2,0,'B'),(3,-1,'C');", [b"A", b"B", b"C"]),
    "one row a line": (b"\n(1,0,'A'),\n(2,0,'B');\n", [b"A", b"B"]),
    "one row a line, CRLF": (b"\r\n(1,0,'A'),\r\n(2,0,'B')\r\n;\r\n", [b"A", b"B"]),
    "one statement a row": (b"(1,0,'A');\n" + INTO + b"(2,0,'B');\n", [b"A", b"B"]),
    "one statement a row, CRLF": (b"(1,0,'A');\r\n" + INTO + b"(2,0,'B');\r\n", [b"A", b"B"]),
    "statements on one line": (b"(1,0,'A');" + INTO + b"(2,0,'B');", [b"A", b"B"]),
    "escaped quote": (rb"(1,0,'O\'Neill');", [b"O'Neill"]),
    "doubled quote": (b"(1,0,'O''Neill'),(2,0,'''');", [b"O'Neill", b"'"]),
    "escaped double quote": (rb"(1,0,'\"A\"');", [b'"A"']),
    "bare double quote": (b"(1,0,'\"A'),(2,0,'B\"');", [b'"A', b'B"']),
    "backtick": (b"(1,0,'`A'),(2,0,'B');", [b"`A", b"B"]),
    "between rows": (b"(1,0,'a),(b'),(2,0,'),(3,0,'),(3,0,'c');", [b"a),(b", b"),(3,0,", b"c"]),
    "semicolon": (b"(1,0,'a;b'),(2,0,');');", [b"a;b", b");"]),
    "semicolon and line break": (b"(1,0,'a);\n(7,0,'),(2,0,'b');", [b"a);\n(7,0,", b"b"]),
    "backslash at the end": (rb"(1,0,'C:\\'),(2,0,'B');", [b"C:\\", b"B"]),
    "backslashes and a quote": (rb"(1,0,'\\\'\\'),(2,0,'\\\\');", [b"\\'\\", b"\\\\"]),
    "escaped quote at both ends": (rb"(1,0,'\'A\'');", [b"'A'"]),
    "only an escaped quote": (rb"(1,0,'\'');", [b"'"]),
    "escaped control bytes": (rb"(1,0,'\0\b\n\r\t\Z');", [b"\0\b\n\r\t\x1a"]),
    "escaped wildcards and letters": (rb"(1,0,'100\%\_\a\N');", [b"100\\%\\_aN"]),
    "raw line breaks": (b"(1,0,'a\nb\r\nc'),(2,0,'d');", [b"a\nb\r\nc", b"d"]),
    "zero bytes": (b"(1,0,'a\0'),(2,0,'\0');", [b"a\0", b"\0"]),
    "not UTF-8": (b"(1,0,'\xff\xfe\xff\xff'),(2,0,'\xfe\xfe');", [b"\xff\xfe\xff\xff", b"\xfe\xfe"]),
    "escaped bytes beyond UTF-8": (b"(1,0,'\\\xff\\\xfe');", [b"\xff\xfe"]),
    "letters of several bytes": ("(1,0,'Žižek_東京_𝒳');".encode(), ["Žižek_東京_𝒳".encode()]),
    "a letter that ends like a backslash": (b"(1,0,'\x83\x5c\x5c'),(2,0,'B');", [b"\x83\\", b"B"]),
    "empty string": (b"(1,0,''),(2,0,'B');", [b"", b"B"]),
    "NULL": (b"(1,0,NULL),(2,NULL,'B'),(3,0,'NULL');", [None, b"B", b"NULL"]),
    "N and NULL": (b"(1,0,'N'),(2,0,NULL);", [b"N", None]),
    "keywords": (b"(1,0,'INSERT INTO `t` VALUES (9,0,'),(2,0,';DROP t;');", [INTO + b"(9,0,", b";DROP t;"]),
    "comment signs": (b"(1,0,'-- A'),(2,0,'/* B'),(3,0,'*/'),(4,0,'#D');", [b"-- A", b"/* B", b"*/", b"#D"]),
    "numbers in strings": (b"(1,0,'2'),(2,0,'-4'),(3,0,'6,7');", [b"2", b"-4", b"6,7"]),
    "spaces around values": (b"( 1 , 0 ,\t'A' ) , (2,0,'B') ;", [b"A", b"B"]),
    "spaces in strings": (b"(1,0,' A '),(2,0,' ');", [b" A ", b" "]),
    "65 bits where nothing is read": (b"(1,18446744073709551615,'A');", [b"A"]),
    "leading zeros": (b"(001,00,'A'),(2,-0,'B');", [b"A", b"B"]),
    "real numbers where nothing is read": (b"(1,0.5,'A'),(2,1e-05,'B'),(3,-1.5E+10,'C');", [b"A", b"B", b"C"]),
    "strings where nothing is read": (b"(1,'0','A'),(2,'a\\'b','B');", [b"A", b"B"]),
    "hexadecimal": (b"(1,0x00,0x412742),(2,0,0x);", [b"A'B", b""]),
    "marked as binary": (b"(1,0,_binary 'A\\'),('),(2,0,_binary '');", [b"A'),(", b""]),
    "long string": (b"(1,0,'" + b"a\\'" * 3000 + b"'),(2,0,'B');", [b"a'" * 3000, b"B"]),
    "many rows": (b",".join(b"(%d,0,'%d')" % (i, i) for i in range(1, 999)) + b";", [b"%d" % i for i in range(1, 999)]),
}

# What follows HEAD, with the rows (1,0,'A') and (2,0,'B').
DUMPS: dict[str, bytes] = {
    "list of columns": b"INSERT INTO `t` (`title`, `id`) VALUES ('A',1),('B',2);",
    "lists that differ": b"INSERT INTO t (title,id) VALUES ('A',1);INSERT INTO t (id,ns,title) VALUES (2,0,'B');",
    "ignore": b"INSERT IGNORE INTO `t` VALUES (1,0,'A');\nREPLACE INTO `t` VALUES (2,0,'B');",
    "small letters": b"insert into t values (1,0,'A'),(2,0,'B');",
    "sandbox": b"/*M!999999\\- enable the sandbox mode */ \n" + INTO + AB,
    "comments": b"-- it's\n--\n# don't;\n/* ; ' */ /*!40000 ALTER TABLE t DISABLE KEYS */;" + INTO + AB + b"\n-- end",
    "locks and settings": b"SET @a='x;y';LOCK TABLES `t` WRITE;\n" + INTO + AB + b"\nUNLOCK TABLES;\nCOMMIT;",
    "first and last comment": b"-- MariaDB dump 10.19  Distrib\n" + INTO + AB + b"\n" + COMPLETED,
    "last comment without a day": b"-- MySQL dump 10.13\n" + INTO + AB + b"\n-- Dump completed\n",
    "an old first comment": b"-- MySQL dump 9.11\n" + INTO + AB,
    "another table": b"CREATE TABLE u (a int);INSERT INTO u VALUES (1);" + INTO + AB + b"INSERT INTO u VALUES (3);",
    "another table's strings": b"CREATE TABLE u (a text);INSERT INTO u VALUES ('\\';'),('" + INTO + b"');" + INTO + AB,
    "all kinds": b"CREATE TABLE u (a enum('x,)','y') COMMENT 'a, \\'b', b decimal(9,2), KEY (a(3)));" + INTO + AB,
    "dropped first": b"DROP TABLE IF EXISTS `v`;\n" + INTO + AB,
}

# What follows HEAD, or a dump that begins with CREATE, with ^ at the byte of the error; and the words of the error.
BAD: dict[str, tuple[bytes, str]] = {
    "ends within a string": (INTO + b"(1,0,'A'),(2,0,^'B", "end of the string that begins here"),
    "ends within a row": (INTO + b"(1,0,'A'),(2,0^", "',' and a value for the column title, got the end of the file"),
    "ends after a row": (INTO + b"(1,0,'A')^", "',' or ';' after the row"),
    "ends after a comma": (INTO + b"(1,0,'A'),^", "a row that begins with '('"),
    "too few values": (INTO + b"(1,0,'A'),(2,0^),(3,0,'C');", "',' and a value for the column title"),
    "too many values": (INTO + b"(1,0,'A'),(2,0,'B'^,0),(3,0,'C');", "')' after 3 values"),
    "no value": (INTO + b"(1,0,'A'),(2,^,'B');", "a value for the column ns"),
    "an empty row": (INTO + b"(1,0,'A'),(^);", "a value for the column id"),
    "a quote that is not escaped": (INTO + b"(1,0,'O'^Neill'),(2,0,'B');", "')' after 3 values"),
    "a quote too few": (INTO + b"(1,0,'A),(2,0,'^B');", "')' after 3 values"),
    "no comma between rows": (INTO + b"(1,0,'A')^(2,0,'B');", "',' or ';' after the row"),
    "two commas": (INTO + b"(1,0,'A'),^,(2,0,'B');", "a row that begins with '('"),
    "a comment between rows": (INTO + b"(1,0,'A'),^/* b */(2,0,'B');", "a row that begins with '('"),
    "a word": (INTO + b"(1,0,^CURRENT_TIMESTAMP);", "a value for the column title"),
    "a letter for NULL": (INTO + b"(1,0,^N);", "a value for the column title"),
    "a number and a letter": (INTO + b"(1^x,0,'A');", "',' and a value for the column ns"),
    "two numbers": (INTO + b"(1 ^2,0,'A');", "',' and a value for the column ns"),
    "a number and a string": (INTO + b"(1,0,5^'A');", "')' after 3 values"),
    "a string and a number": (INTO + b"(1,0,'A'^5);", "')' after 3 values"),
    "two signs": (INTO + b"(1,^--1,'A');", "a value for the column ns"),
    "half a byte": (INTO + b"(1,0,0x41^F);", "')' after 3 values"),
    "NULL for an integer": (INTO + b"(1,0,'A'),(^NULL,0,'B');", "an integer of 64 bits in the column id"),
    "a string for an integer": (INTO + b"(^'1',0,'A');", "an integer of 64 bits in the column id"),
    "a real number for an integer": (INTO + b"(1,0,'A'),(^1.5,0,'B');", "an integer of 64 bits in the column id"),
    "65 bits": (INTO + b"(^9223372036854775808,0,'A');", "an integer of 64 bits in the column id"),
    "an integer for a string": (INTO + b"(1,0,'A'),(2,0,^7);", "a string in the column title"),
    "a misspelt keyword": (b"^INSRT INTO `t` VALUES (1,0,'A');", "an SQL statement"),
    "rows that are changed": (INTO + b"(1,0,'A');\n^UPDATE t SET id=2;", "an SQL statement"),
    "rows from nowhere": (INTO + b"(1,0,'A');^(2,0,'B');", "an SQL statement"),
    "a comment without end": (INTO + b"(1,0,'A');\n^/* b", "a comment that ends"),
    "a setting without end": (INTO + b"(1,0,'A');\n^SET a='b;", "a statement that ends"),
    "rows of an unknown table": (b"INSERT INTO `u` VALUES ^(1,0,'A');", "CREATE TABLE before rows of 'u'"),
    "rows before the table": (b"CREATE TABLE `u` (`a` int);INSERT INTO `t` VALUES ^(1);", "before rows of 't'"),
    "the table twice": (b"CREATE TABLE `t` (`id` int,`title` text);CREATE TABLE `t` (`id` int);^", "a second one"),
    "no table": (b"CREATE TABLE `u` (`a` int);^", "CREATE TABLE `t`, got a dump of u"),
    "a table without the column": (b"CREATE TABLE `t` (`id` int,`name` text);^", "a column title, got the columns id"),
    "rows without the column": (b"INSERT INTO `t` (`id`,`ns`) VALUES ^(1,0);", "title, got the columns id, ns"),
    "rows with a strange column": (b"INSERT INTO `t` (`id`,`title`,`x`) VALUES ^(1,'A',0);", "also x"),
    "a column twice": (b"INSERT INTO `t` (`id`,`id`,`title`) VALUES ^(1,1,'A');", "every column once"),
    "a table without columns": (b"CREATE TABLE `t` ();^", "a column or a key"),
    "a table that is not closed": (b"^CREATE TABLE `t` (`id` int;", "list of columns that is closed"),
    "a table without types": (b"CREATE TABLE `t` (`id`);^", "a type after the column's name"),
    "only the first comment": (b"-- MySQL dump 10.13\n" + INTO + b"(1,0,'A');\n^", "Dump completed"),
    "something else": (b"^<html><body>404</body></html>", "an SQL statement"),
    "other dumps": (b"^PK\x03\x04zip", "an SQL statement"),
}  # fmt: skip


def write(path: Path, dump: bytes) -> Path:
    """Write a dump, gzipped if its name says so."""
    path.write_bytes(gzip.compress(dump, 1) if path.suffix == ".gz" else dump)
    return path


@dataclass
class Wiki:
    """What the tables hold.

    Attributes:
        pages: by id, the namespace, the title, and whether it is a redirect.
        redirects: by id, the namespace, the title, and the other wiki to which it leads.
        links: id of the source, namespace and title of the target.
    """

    pages: dict[int, tuple[int, str, bool]]
    redirects: dict[int, tuple[int, str, str | None]] = field(default_factory=dict)
    links: list[tuple[int, int, str]] = field(default_factory=list)

    def tables(self, schema: str) -> dict[str, tuple[str, list[tuple]]]:
        """The columns and rows of each table."""
        space = {page: entry[0] for page, entry in self.pages.items()}
        aims = {aim: 2**40 + 7 * i for i, aim in enumerate(dict.fromkeys(link[1:] for link in self.links))}
        old = [(a, ns, title, space.get(a, 0), None) for a, ns, title in self.links]
        columns = "pl_from int, pl_namespace int, pl_title varbinary(255), pl_from_namespace int, pl_target_id bigint"
        links = {
            "since 2024": (
                "pl_from int, pl_from_namespace int, pl_target_id bigint",
                [(a, space.get(a, 0), aims[ns, title]) for a, ns, title in self.links],
            ),
            "in between": (columns, old),
            "before 2024": (columns.rpartition(",")[0], [row[:-1] for row in old]),
            "before 2014": (columns.partition(", pl_from_")[0], [row[:-2] for row in old]),
        }
        made = {
            "page": (
                "page_id int, page_namespace int, page_title varbinary(255), page_is_redirect int, page_random double",
                [(page, ns, title, int(redirect), 0.5) for page, (ns, title, redirect) in self.pages.items()],
            ),
            "redirect": (
                "rd_from int, rd_namespace int, rd_title varbinary(255), rd_interwiki varbinary(32)",
                [(page, *aim) for page, aim in self.redirects.items()],
            ),
            "pagelinks": links[schema],
            "linktarget": (
                "lt_title varbinary(255), lt_namespace int, lt_id bigint unsigned",
                [(title, ns, number) for (ns, title), number in aims.items()],
            ),
        }
        return made if schema == "since 2024" else {name: made[name] for name in made if name != "linktarget"}

    def save(self, folder: Path, schema: str = "since 2024", *, prefix: str = "xwiki-20240901-") -> Path:
        folder.mkdir(exist_ok=True)
        for table, (columns, rows) in self.tables(schema).items():
            values = ",".join("(" + ",".join(map(literal, row)) + ")" for row in rows)
            insert = f"INSERT INTO `{table}` VALUES {values};\n" if rows else ""
            dump = f"-- MySQL dump 10.19\nCREATE TABLE `{table}` ({columns});\n{insert}".encode() + COMPLETED
            write(folder / f"{prefix}{table}.sql.gz", dump)
        return folder

    def expected(self, namespace: int = 0) -> set[tuple[str, str]]:
        """The links by following redirects one after the other."""
        by_title = {entry[:2]: page for page, entry in self.pages.items()}
        found = set()
        for source, space, name in self.links:
            met, page = set(), by_title.get((space, name))
            while page is not None and self.pages[page][2] and page not in met:
                met.add(page)
                ns, title, elsewhere = self.redirects.get(page, (0, "", "nowhere"))
                page = None if elsewhere or ns != namespace else by_title.get((ns, title))
            inside = source in self.pages and self.pages[source][0] == space == namespace
            if inside and not self.pages[source][2] and page is not None and page not in met and page != source:
                found.add((self.pages[source][1].replace("_", " "), self.pages[page][1].replace("_", " ")))
        return found


def literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'").replace('"', '\\"') + "'"
    return "NULL" if value is None else str(value)


AWKWARD = "a),(b;'\\\""
SCHEMAS = ("since 2024", "in between", "before 2024", "before 2014")
SMALL = Wiki(
    {
        10: (0, "Germany", False), 7: (0, "Yeast_(fungus)", False), 5: (0, AWKWARD, False), 4: (14, "Germany", False),
        20: (0, "FRG", True), 21: (0, "BRD", True), 22: (0, "Loop", True), 23: (0, "Pool", True), 24: (0, "Self", True),
        25: (0, "To_red", True), 26: (0, "To_wiki", True), 27: (0, "To_category", True), 28: (0, "No_row", True),
    },
    {
        20: (0, "Germany", None), 21: (0, "FRG", ""), 22: (0, "Pool", ""), 23: (0, "Loop", ""), 24: (0, "Self", ""),
        25: (0, "Red", ""), 26: (0, "Germany", "de"), 27: (14, "Germany", ""), 7: (0, "Germany", ""), 999: (0, "F", ""),
    },
    [
        (10, 0, "Yeast_(fungus)"), (7, 0, "BRD"), (7, 0, "FRG"), (7, 0, "Germany"), (5, 0, "Germany"), (7, 0, AWKWARD),
        (10, 0, "FRG"), (10, 0, "Red"), (10, 14, "Germany"), (4, 0, "Germany"), (20, 0, "Germany"), (777, 0, "Germany"),
        *((5, 0, title) for title in ("Loop", "Self", "To_red", "To_wiki", "To_category", "No_row", AWKWARD)),
    ],
)  # fmt: skip


def random_wiki(seed: int, size: int = 300) -> Wiki:
    """Pages, redirects with chains and cycles, and links, red ones among them."""
    rng = random.Random(seed)
    names = [rng.choice(["Ž", "x_", "'", "),(", ""]) + str(i) for i in range(size)]
    entries = {rng.randrange(10 * size): (rng.choice([0, 0, 0, 14]), name, rng.random() < 0.4) for name in names}

    def aim() -> tuple[int, str]:
        return rng.choice([0, 0, 0, 14]), rng.choice([*names, "red", "redder"])

    redirects = {
        page: (*aim(), rng.choice([None, "", "", "de"]))
        for page, entry in entries.items()
        if entry[2] and rng.random() < 0.9
    }
    links = [(rng.choice([*entries, 10**9]), *aim()) for _ in range(10 * size)]
    return Wiki(entries, redirects, list(dict.fromkeys(links)))
