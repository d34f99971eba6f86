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

/* What an output of a format with a carrier was loaded with, in tests/interop. */
static const struct {
	int format, carrier; /* -1: any other */
	struct cwe_support support;
} tested[] = {
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_OVERLAY, {"cwp-loader over transformers", "test_loader"}},
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_NONE, {"transformers", "test_compressed_tensors"}},
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_MODULES, {"transformers", "test_carriers"}},
	{CWJ_FORMAT_COMPRESSED_TENSORS, CWJ_CARRIER_ADAPTER, {"PEFT over transformers", "test_carriers"}},
	{CWJ_FORMAT_BITSANDBYTES, CWJ_CARRIER_OVERLAY, {"cwp-loader over transformers", "test_loader"}},
	{CWJ_FORMAT_BITSANDBYTES, CWJ_CARRIER_NONE, {"bitsandbytes", "test_formats"}},
	{CWJ_FORMAT_BITSANDBYTES, CWJ_CARRIER_MODULES, {"bitsandbytes", "test_matrix"}},
	{CWJ_FORMAT_BITSANDBYTES, CWJ_CARRIER_ADAPTER, {"PEFT over bitsandbytes", "test_matrix"}},
	{CWJ_FORMAT_GPTQ, CWJ_CARRIER_OVERLAY, {"cwp-loader over transformers", "test_loader"}},
	{CWJ_FORMAT_GPTQ, CWJ_CARRIER_NONE, {"GPT-QModel", "test_matrix"}},
	{CWJ_FORMAT_GPTQ, CWJ_CARRIER_MODULES, {"GPT-QModel", "test_matrix"}},
	{CWJ_FORMAT_GPTQ, CWJ_CARRIER_ADAPTER, {"PEFT over GPT-QModel", "test_matrix"}},
	{CWJ_FORMAT_FP8, CWJ_CARRIER_OVERLAY, {"cwp-loader over transformers", "test_loader"}},
	{CWJ_FORMAT_FP8, CWJ_CARRIER_NONE, {"transformers", "test_formats"}},
	{CWJ_FORMAT_FP8, CWJ_CARRIER_MODULES, {"transformers", "test_matrix"}},
	{CWJ_FORMAT_FP8, CWJ_CARRIER_ADAPTER, {"PEFT over transformers", "test_matrix"}},
	{CWJ_FORMAT_GGUF, CWJ_CARRIER_NONE, {"transformers, gguf", "test_gguf_output"}},
	{CWJ_FORMAT_GGUF, CWJ_CARRIER_MODULES, {"llama.cpp, transformers", "test_gguf_output"}},
	/* Values in the place of codes are a plain checkpoint, whatever the format. */
	{-1, CWJ_CARRIER_DENSE, {"transformers", "test_matrix"}},
	{CWJ_FORMAT_DENSE, -1, {"transformers", "test_matrix"}},
};

const struct cwe_support *cwe_support_find(const struct cwe_format *f, size_t carrier)
{
	size_t i;

	for (i = 0; f->carriers & CWE_SET(carrier) && i < sizeof tested / sizeof *tested; i++)
		if ((tested[i].format == f->id || tested[i].format < 0) &&
			(tested[i].carrier == (int)carrier || tested[i].carrier < 0))
			return &tested[i].support;
	return NULL;
}
