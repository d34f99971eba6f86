/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Large memory of the host that goes back to the system at once when nobody needs it any more. */
#pragma once

#include <stdint.h>

struct cwe_room {
	char *p; /* at a page's beginning; NULL: none */
	uint64_t bytes;
};

/* Pages of it count once they are written. -ENOMEM: the system gives none, and *ret is zeroed. */
int cwe_room_new(uint64_t bytes, struct cwe_room *ret);
void cwe_room_free(struct cwe_room *room); /* zeroes it; a zeroed one is fine */

/* Bytes of this machine's memory that programs may still take without others losing theirs; UINT64_MAX: not known. */
uint64_t cwe_room_available(void);
