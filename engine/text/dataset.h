/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Data sets: one row of a table for each form of file that a set comes in, with the columns that
 * its items are made of. Files of a user's own get a row from the job's columns. */
#pragma once

#include "engine/text/parts.h"
#include "engine/text/record.h"
#include "job/job.h"

enum cwe_form {
	CWE_FORM_JSONL,
	CWE_FORM_JSON, /* one document */
	CWE_FORM_CSV,
	CWE_FORM_PARAGRAPHS, /* plain text, empty lines between */
	CWE_FORM_ARTICLES,   /* the same with headings " = Title = ", as WikiText has them */
	CWE_FORM_SENTENCES   /* CoNLL-U, of which the comments sent_id and text are read */
};

#define CWE_MAKES(kind) (1u << (kind))
#define CWE_DATASET_COLUMNS 4
#define CWE_DATASET_KEYS 2

struct cwe_dataset;

/* What an item is made of. */
struct cwe_source_item {
	const struct cwe_dataset *row;
	const struct cwj_set *set;
	enum cwe_item_kind kind;
	struct cwe_record record;
};

/* Adds the parts of an item. 0; 1 when the record is not an item of this kind; or a negative code
 * with ret->field and ret->wrong. */
typedef int cwe_dataset_make(const struct cwe_source_item *from, struct cwe_parts *ret);

struct cwe_dataset {
	const char *name;   /* `data` of the job */
	const char *ending; /* of the file's name in this form; "" any */
	enum cwe_form form;
	const char *records[2];   /* JSON: paths of the arrays that hold the records */
	unsigned makes;           /* CWE_MAKES of each kind it can make */
	enum cwe_item_kind usual; /* of these, what it makes unless the job says `as` */
	/* Columns that make an item known again: its identity. None: its texts. */
	const char *key[CWE_DATASET_KEYS];
	int key_file;    /* so does the file's name, without ending and _n or _en */
	int key_number;  /* so does the record's number */
	int no_header;   /* CSV without one */
	int by_language; /* the first column is named by the job's key language; en by default */
	int own;         /* every record must be an item: the user's own file */
	const char *mac_roman;      /* files whose name has this are in Mac OS Roman; NULL: none */
	enum cwe_encoding encoding; /* of the file; set by cwe_dataset_find */
	/* What the parts of an item are made of, in order: TEXT, ANSWER and REFUSAL prompt, more of
	 * the prompt (NULL: no more), answer (NULL: none); PAIR context (NULL: none), more, less.
	 */
	const char *column[CWE_DATASET_COLUMNS];
	cwe_dataset_make *make;
	const char *where, *is; /* REFUSAL: only records whose column has this value */
};

extern const struct cwe_dataset cwe_datasets[];
extern const size_t cwe_dataset_count;

/* The row for a set of a job: by the name of its data, the ending of its file, and its columns. The
 * texts of *ret are the table's and the set's. Errors have the place of the set and the field. */
int cwe_dataset_find(const struct cwj_set *set, struct cwe_dataset *ret,
	enum cwe_item_kind *ret_kind, struct cwb_err *err);
/* The row of a published set for a file of this path, with its encoding, for readers of whole records. *ret is the table's.
 * CWP_EUNKNOWN: no such set; CWP_EVALUE: none of its forms has this ending. */
int cwe_dataset_published(const char *data, const char *path, struct cwe_dataset *ret, struct cwb_err *err);
/* The kind alone: what find would say, or TEXT where it would refuse. */
enum cwe_item_kind cwe_dataset_kind(const struct cwj_set *set);

/* The identity of an item, by which it is known in every file and language of its set:
 * "<data>/<key>", the key being what the columns of the row say, joined by "/", or where that is
 * not short and plain the first 32 hexadecimal digits of its SHA-256. Without key columns it is
 * "<data>/<digest>", digest being that of its texts; a plain text is its own key. 0 or -ENOMEM. */
int cwe_dataset_identity(
	const struct cwe_source_item *from, const char *digest, char ret[CWE_ITEM_IDENTITY]);
/* "<data>/<key>" of a key that is at hand. */
int cwe_dataset_identity_of(
	const char *data, const char *key, size_t length, char ret[CWE_ITEM_IDENTITY]);

/* How items are made, for the table. */
cwe_dataset_make cwe_make_columns, cwe_make_bbq, cwe_make_mmlu, cwe_make_harmbench,
	cwe_make_refusal_pair, cwe_make_stereoset, cwe_make_stereoset_nested;
