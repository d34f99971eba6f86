/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Rows of a data file that an evaluator makes its items of: fields that are checked, refusals that name file, line and
 * field, and the seeded choice of a part. */
#ifndef CWP_EVALUATOR_ROWS_H
#define CWP_EVALUATOR_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include <cwp/evaluator.h>

struct rows {
	const struct cwp_host *host;
	struct cwp_records *records; /* closed with rows_close */
	char *path;
	size_t count;
};

/* data, records: as struct cwp_record_source has them. 0, or a code whose reason is explained. */
int rows_open(const struct cwp_host *host, const char *path, const char *data, const char *records, struct rows *ret);
void rows_close(struct rows *r);

/* Explains what is wrong with a field of a row ("FILE:LINE: FIELD: ..."); returns CWP_EVALUE. */
int rows_refuse(const struct rows *r, uint64_t row, const char *field, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Explains what is wrong with the file; returns CWP_EVALUE. */
int rows_refuse_file(const struct cwp_host *host, const char *path, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A text that must be there. */
int rows_text(const struct rows *r, uint64_t row, const char *field, const char **ret);
/* The same, fit to be a group of items: short, without '/' and control characters. */
int rows_group(const struct rows *r, uint64_t row, const char *field, const char **ret);
/* The same, one of the words; the number of it. The list ends with NULL. */
int rows_word(const struct rows *r, uint64_t row, const char *field, const char *const *words, size_t *ret);

/* The items to ask for. Each row makes `times` of them, number row * times + k; those of rows with dropped[row] (NULL: none)
 * and of rows that the job calibrates on are none. stratum: [rows * times], or NULL. 0 and a rising list that is freed with
 * free(); or a code whose reason is explained: nothing left is an error that calls the items by `noun`. */
int rows_choose(const struct rows *r, size_t times, const unsigned char *dropped, const size_t *stratum, uint64_t limit,
	const char *noun, size_t **ret_index, size_t *ret_count);
/* A number for a text, to be a stratum: equal for equal texts. */
size_t rows_stratum(size_t before, const char *text);

/* Whether no two of the ids are equal; else explains which one repeats. id: [count], sorted by this call. */
int rows_unique(const struct rows *r, const char **id, size_t count);

#endif
