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

/* tests/interop: test_compressed_tensors, test_carriers, test_loader, test_formats, test_gguf_output. A combination that is not
 * listed is read by cwp-inspect and its tests. */
static const struct {
	int format, carrier;
	const char *engine;
} tested[] = {
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY, "cwp-loader over transformers"},
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_NONE, "transformers"},
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_MODULES, "transformers"},
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_ADAPTER, "PEFT over transformers"},
	{CWJ_FORMAT_BITSANDBYTES, CWJ_CARRIER_NONE, "bitsandbytes"},
	{CWJ_FORMAT_GPTQ, CWJ_CARRIER_NONE, "GPT-QModel"},
	{CWJ_FORMAT_FP8, CWJ_CARRIER_NONE, "transformers"},
	{CWJ_FORMAT_GGUF, CWJ_CARRIER_NONE, "transformers, gguf"},
	{CWJ_FORMAT_GGUF, CWJ_CARRIER_MODULES, "transformers, gguf"},
};

const char *cwe_support_engine(const struct cwe_format *f, size_t carrier)
{
	size_t i;

	/* Values in the place of codes are a plain checkpoint, whatever the format. */
	if (carrier == CWJ_CARRIER_DENSE || f->id == CWJ_FORMAT_DENSE)
		return "transformers";
	for (i = 0; i < sizeof tested / sizeof *tested; i++)
		if (tested[i].format == f->id && tested[i].carrier == (int)carrier)
			return tested[i].engine;
	return "cwp-inspect";
}
