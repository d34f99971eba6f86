/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The texts that an item of a calibration set is made of. */
#pragma once

#include <stddef.h>

/* TEXT {text}, ANSWER and REFUSAL {prompt, answer}, PAIR {context, more, less}. In the order of the
 * job's key `as`, behind auto. */
enum cwe_item_kind { CWE_ITEM_TEXT, CWE_ITEM_ANSWER, CWE_ITEM_PAIR, CWE_ITEM_REFUSAL };

#define CWE_ITEM_PARTS 3
#define CWE_ITEM_IDENTITY 128 /* bytes, NUL included */

/* Parts in the making; each part lies in text with a NUL behind it. Zeroed it is empty. */
struct cwe_parts {
	char *text;
	size_t length, room;
	size_t start[CWE_ITEM_PARTS], size[CWE_ITEM_PARTS];
	size_t count;
	const char *separator; /* between prompt and answer without a chat format; NULL: a line end
				  where neither text has white space */
	int failed;            /* memory ran out */
	/* What is wrong with the record. */
	const char *field, *wrong;
};

/* Adds to the part at hand; end finishes it. */
void cwe_parts_add(struct cwe_parts *p, const char *text, size_t length);
void cwe_parts_end(struct cwe_parts *p);
void cwe_parts_free(struct cwe_parts *p);
const char *cwe_parts_text(const struct cwe_parts *p, size_t part);
