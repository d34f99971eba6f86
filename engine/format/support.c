/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* Carriers and formats, in words. */
#include "engine/format/support.h"

#include <stdio.h>
#include <string.h>

static const char *const carriers[] = {[CWJ_CARRIER_OVERLAY] = "overlay", [CWJ_CARRIER_NONE] = "none",
	[CWJ_CARRIER_DENSE] = "dense", [CWJ_CARRIER_MODULES] = "modules", [CWJ_CARRIER_ADAPTER] = "adapter"};

const char *cwe_carrier_name(size_t carrier)
{
	return carrier < sizeof carriers / sizeof *carriers ? carriers[carrier] : NULL;
}

void cwe_format_carriers_text(const struct cwe_format *f, char *ret, size_t size)
{
	size_t left = 0, n = 0, i;

	for (i = 0; cwe_carrier_name(i); i++)
		left += (f->carriers >> i) & 1;
	*ret = 0;
	for (i = 0; cwe_carrier_name(i) && n < size; i++) {
		int added;

		if (!(f->carriers & CWE_SET(i)))
			continue;
		left--;
		added = snprintf(ret + n, size - n, "%s%s", n == 0 ? "" : left > 0 ? ", " : " or ", cwe_carrier_name(i));
		n += added > 0 ? (size_t)added : 0;
	}
}
