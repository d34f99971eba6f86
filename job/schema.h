/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* A file's schema as tables: one line a key says what it is called, what it may hold and where it
 * goes. The same tables read the YAML tree into a structure, write the structure as JSON, and free
 * it; so a new key is a new line. Internal to this room. */
#pragma once

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "job/yaml.h"

/* What a key holds, and the C type of its target. */
enum cwj_kind {
	CWJ_TEXT,    /* char *: one line of text, low..high bytes */
	CWJ_ID,      /* char *: lower-case letters, digits, hyphens; begins with a letter */
	CWJ_LABEL,   /* char *: letters, digits, - and _; names of sets and evaluations */
	CWJ_PATH,    /* char *: made absolute and normalized */
	CWJ_SIZE,    /* uint64_t bytes */
	CWJ_TIME,    /* uint64_t seconds */
	CWJ_COUNT,   /* uint64_t, low..high */
	CWJ_SMALL,   /* uint32_t, low..high */
	CWJ_NUMBER,  /* double, least..most */
	CWJ_SWITCH,  /* int: true, false */
	CWJ_CHOICE,  /* an enum: the position in names */
	CWJ_WORD,    /* char *: one of names */
	CWJ_TEXTS,   /* char ** with a size_t count: a list of TEXT */
	CWJ_PATHS,   /* char ** with a size_t count: a list of PATH */
	CWJ_WORDS,   /* uint32_t of bits: a list of names, bit = position */
	CWJ_OPTIONS, /* struct cwj_option * with a size_t count: a mapping of names to scalars */
	CWJ_MAPPING, /* keys of `table`; the target is a structure within the structure */
	CWJ_LIST,    /* elements of `table` with a size_t count: a list of mappings */
	CWJ_CUSTOM   /* read, json and free of its own */
};

struct cwj_table;
struct cwj_key;

struct cwj_reader {
	const char *directory; /* absolute */
	struct cwb_err *err;   /* never NULL, empty at the start */
	char field[192];       /* path of the value being read */
};

struct cwj_custom {
	int (*read)(struct cwj_reader *r, const struct cwj_key *key, const struct cwj_yaml *node,
		void *target);
	/* Adds to object; 0 or -ENOMEM. */
	int (*json)(json_t *object, const struct cwj_key *key, const void *target);
	void (*free)(void *target); /* may be NULL */
};

struct cwj_key {
	const char *name;
	enum cwj_kind kind;
	int required;
	size_t offset;  /* of the target within the table's structure */
	size_t count;   /* lists: offset of the size_t count */
	size_t present; /* mapping: offset of an int set to 1 when the key stands there; 0: none */
	uint64_t low, high; /* of TEXT (bytes), SIZE, TIME, COUNT, SMALL; elements of lists: at most
			       high, 0: any */
	double least, most; /* of NUMBER */
	const char *const *names; /* of CHOICE, WORD, WORDS; ends with NULL */
	const char *remedy;       /* what to write, for errors; NULL: made from kind and range */
	const struct cwj_table *table;
	const struct cwj_custom *custom;
	unsigned tag; /* CUSTOM: its own */
	/* After the value was stored; may refuse it. Scalars only. */
	int (*check)(struct cwj_reader *r, const struct cwj_yaml *node, const void *target);
};

struct cwj_table {
	const struct cwj_key *keys; /* ends with a NULL name */
	size_t size;                /* of the structure */
	size_t place;               /* offset of `int line, column` plus 1; 0: not kept */
	void (*fill)(void *target); /* defaults of numbers and choices in a zeroed structure; may be
				       NULL */
	/* Once all keys were read: defaults that need memory, and what concerns several keys. May
	 * be NULL. */
	int (*check)(struct cwj_reader *r, const struct cwj_yaml *node, void *target);
};

/* Reads a mapping into target, which was zeroed by the caller. On failure target holds what was
 * read so far: free it with cwj_table_free. */
int cwj_table_read(struct cwj_reader *r, const struct cwj_table *table, const struct cwj_yaml *node,
	void *target);
/* NULL only when memory ran out. Absent texts, and mappings whose present flag is 0, are left out.
 */
json_t *cwj_table_json(const struct cwj_table *table, const void *target);
/* Frees what the target's pointers own and zeroes them, not the target itself. */
void cwj_table_free(const struct cwj_table *table, void *target);

/* Puts place and field into the error; the message becomes "<field>: <text>". */
int cwj_fail(struct cwj_reader *r, const struct cwj_yaml *node, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* As cwj_fail for a name that is not known, with the nearest of names (stride as in cwb_nearest),
 * or all of them. */
int cwj_fail_name(struct cwj_reader *r, const struct cwj_yaml *node, const char *what,
	const char *const *first, size_t count, size_t stride);
/* As cwj_fail for a key that is missing in this mapping. */
int cwj_fail_missing(
	struct cwj_reader *r, const struct cwj_yaml *mapping, const char *key, const char *remedy);

/* Goes to a key or an element; give the result to cwj_leave. */
size_t cwj_enter(struct cwj_reader *r, const char *key);
size_t cwj_enter_index(struct cwj_reader *r, size_t index);
void cwj_leave(struct cwj_reader *r, size_t mark);

/* A scalar as a finite number: 4, -0.5, 1e-3, not quoted. 0 or CWP_EVALUE. */
int cwj_number_parse(const struct cwj_yaml *node, double *ret);
/* Options of a mapping: names and scalars as written. */
int cwj_options_read(
	struct cwj_reader *r, const struct cwj_yaml *node, void *ret_options, size_t *ret_count);
