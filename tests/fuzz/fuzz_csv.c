/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as CSV, the first of them saying in which character set: each record lies where it
 * says, has as many fields as the first, gives the same fields when it is read from its own bytes,
 * and every refusal has a code, a text and a line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/text/csv.h"
#include "engine/text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(const struct cwe_csv *csv, const struct cwe_csv *again)
{
	if (csv->count != csv->columns || again->count != csv->count)
		abort();
	for (size_t i = 0; i < csv->count; i++) {
		const struct cwe_csv_field *f = &csv->field[i];
		if (f->length != again->field[i].length ||
			memcmp(f->text, again->field[i].text, f->length + 1) != 0)
			abort();
		if (f->text[f->length] != '\0' || strlen(f->text) != f->length ||
			cwe_utf8_check(f->text, f->length) != f->length)
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct cwb_err err = {0};
	if (fd < 0)
		fd = memfd_create("csv", MFD_CLOEXEC);
	if (size == 0 || fd < 0)
		return 0;
	enum cwe_encoding encoding = (enum cwe_encoding)(*data++ % 3);
	size--;
	if (ftruncate(fd, (off_t)size) < 0 || pwrite(fd, data, size, 0) != (ssize_t)size ||
		lseek(fd, 0, SEEK_SET) < 0)
		return 0;
	struct cwe_csv csv = {.path = "fuzz", .encoding = encoding, .fd = fd, .next_line = 1};
	struct cwe_csv again = {.path = "fuzz", .encoding = encoding, .fd = -1};
	int rc;
	while ((rc = cwe_csv_next(&csv, &err)) > 0) {
		if (csv.offset > size || csv.length > size - csv.offset)
			abort();
		if (cwe_csv_parse(&again, (const char *)data + csv.offset, csv.length, &err) < 0)
			abort();
		check_record(&csv, &again);
	}
	if (rc < 0 && (err.code != rc || err.message[0] == '\0' || err.line < 1))
		abort();
	csv.fd = -1; /* it is used again */
	cwe_csv_close(&csv);
	cwe_csv_close(&again);
	return 0;
}
