/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* The model card of an output, README.md: what was done, for people and model hubs. Made of the report alone, without its
 * times and paths, so that the same job gives the same card. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/verdict.h"
#include "engine/pipeline/report.h"
#include "engine/pipeline/report_p.h"

/* Text in Markdown, with nothing in it that means something there. */
static void plain(FILE *f, const char *text)
{
	for (; text != NULL && *text != '\0'; text++) {
		if ((unsigned char)*text < ' ') {
			(void)fputc(' ', f);
		} else {
			(void)fprintf(f, strchr("\\`*_[]<>|#", *text) != NULL ? "\\%c" : "%c", *text);
		}
	}
}

/* A scalar of YAML: JSON's quotes are YAML's. */
static void quoted(FILE *f, const char *text)
{
	json_t *s = json_string(text);
	char *line = s != NULL ? json_dumps(s, JSON_ENCODE_ANY) : NULL;
	(void)fputs(line != NULL ? line : "\"\"", f);
	free(line);
	json_decref(s);
}

/* The last part of a path, without ".gguf". */
static char *base_name(const char *path)
{
	size_t n = strlen(path);
	while (n > 1 && path[n - 1] == '/') {
		n--;
	}
	size_t from = n;
	while (from > 0 && path[from - 1] != '/') {
		from--;
	}
	char *name = strndup(path + from, n - from);
	if (name != NULL && n - from > 5 && strcmp(name + n - from - 5, ".gguf") == 0) {
		name[n - from - 5] = '\0';
	}
	return name;
}

static const json_t *section(const json_t *report, const char *key)
{
	return json_object_get(json_object_get(report, "job"), key);
}

/* "none" where nothing is protected. */
static const char *carrier_of(const json_t *report)
{
	const json_t *p = json_object_get(report, "protection"), *converted = json_object_get(report, "converted");
	double kept = cwe_report_number_of(p, "protected") + cwe_report_number_of(p, "super_added");
	const char *name = cwe_report_text_of(converted != NULL ? converted : section(report, "protect"), "carrier");
	return kept > 0 && name[0] != '\0' ? name : "none";
}

/* Values that are dense have no other format, but for GGUF. */
static const char *format_of(const json_t *report)
{
	const json_t *converted = json_object_get(report, "converted");
	const char *name = cwe_report_text_of(converted != NULL ? converted : section(report, "write"), "format");
	return strcmp(carrier_of(report), "dense") == 0 && strcmp(name, "gguf") != 0 ? "dense" : name;
}

static void front_matter(FILE *f, const json_t *report, const char *model)
{
	(void)fputs("---\nbase_model: ", f);
	quoted(f, model);
	(void)fputs("\nbase_model_relation: quantized\nlibrary_name: transformers\ntags:\n- cwpd\n- ", f);
	quoted(f, format_of(report));
	(void)fputs("\n---\n\n", f);
}

static void row(FILE *f, const char *what, const char *text)
{
	(void)fprintf(f, "| %s | ", what);
	plain(f, text);
	(void)fputs(" |\n", f);
}

static void list_row(FILE *f, const char *what, const json_t *list, const char *key)
{
	const json_t *item;
	size_t i;
	if (json_array_size(list) == 0) {
		return;
	}
	(void)fprintf(f, "| %s |", what);
	json_array_foreach ((json_t *)(uintptr_t)list, i, item) {
		(void)fputs(i > 0 ? ", " : " ", f);
		plain(f, cwe_report_text_of(item, key));
		if (json_is_integer(json_object_get(item, "samples"))) {
			(void)fprintf(f, " (%s, %lld samples)", cwe_report_text_of(item, "role"),
				(long long)json_integer_value(json_object_get(item, "samples")));
		}
	}
	(void)fputs(" |\n", f);
}

static void facts(FILE *f, const json_t *report, const char *model)
{
	const json_t *p = json_object_get(report, "protection"), *schemes = json_object_get(report, "schemes"), *count;
	double weights = cwe_report_number_of(p, "weights"), kept = cwe_report_number_of(p, "protected") + cwe_report_number_of(p, "super_added");
	const char *scheme;
	(void)fputs("## What was done\n\n| | |\n| --- | --- |\n", f);
	row(f, "base model", model);
	row(f, "quantizer", cwe_report_text_of(section(report, "quantize"), "plugin"));
	json_object_foreach ((json_t *)(uintptr_t)schemes, scheme, count) {
		(void)fprintf(f, "| scheme | %s: %lld modules |\n", scheme, (long long)json_integer_value(count));
	}
	row(f, "format", format_of(report));
	(void)fprintf(f, "| quantized weights | %.0f |\n| protected weights | %.0f (%.4g %%) |\n", weights, kept,
		weights > 0 ? 100 * kept / weights : 0.0);
	row(f, "carried by", carrier_of(report));
	(void)fprintf(f, "| bits a weight, as stored | %.3f |\n", cwe_report_number_of(json_object_get(report, "size"), "bits_per_weight"));
	row(f, "scored by", cwe_report_text_of(section(report, "score"), "plugin"));
	list_row(f, "calibrated on", json_object_get(p, "sets"), "name");
	if (json_is_object(json_object_get(report, "converted"))) {
		row(f, "converted from", cwe_report_text_of(json_object_get(report, "converted"), "from"));
	}
	(void)fputc('\n', f);
}

static void code(FILE *f, const char *lines)
{
	(void)fprintf(f, "```python\n%s```\n\n", lines);
}

static void loading(FILE *f, const json_t *report)
{
	const char *carrier = carrier_of(report), *format = format_of(report);
	(void)fputs("## How to load\n\n", f);
	if (strcmp(format, "gguf") == 0) {
		(void)fputs("The `.gguf` file loads in llama.cpp and in engines built on it.\n\n", f);
	} else if (strcmp(carrier, "overlay") == 0 && strcmp(format, "dense") != 0) {
		(void)fputs("The protected weights lie in `protected.safetensors`. The package cwp-loader puts them in their places; without "
			"it engines run the plainly quantized model.\n\n", f);
		code(f, "from cwp_loader import load\n\nmodel = load(\"this folder\")\n");
	} else if (strcmp(carrier, "adapter") == 0) {
		(void)fputs("The protected weights lie in `adapter/`, a LoRA adapter over the quantized model. One forward pass comes before "
			"it, as packed weights are unpacked then.\n\n", f);
		code(f, "import torch\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
			"model = AutoModelForCausalLM.from_pretrained(\"this folder\")\nmodel(torch.tensor([[0]]))\n"
			"model = PeftModel.from_pretrained(model, \"this folder/adapter\")\n");
	} else {
		(void)fputs("Any engine of the format loads the folder as it is.\n\n", f);
		code(f, "from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained(\"this folder\")\n");
	}
}

static void number(FILE *f, const json_t *entry, const char *which)
{
	const json_t *v = json_object_get(entry, which);
	double x = cwe_report_number_of(v, "value"), low = cwe_report_number_of(v, "low"), high = cwe_report_number_of(v, "high");
	(void)fprintf(f, isfinite(x) ? " %.4g" : "", x);
	if (isfinite(x) && isfinite(low) && isfinite(high)) {
		(void)fprintf(f, " (%.4g to %.4g)", low, high);
	}
	(void)fputs(" |", f);
}

/* What the gate and the recovery come to, in the report's words. */
static void verdict(FILE *f, const json_t *report)
{
	struct cwb_verdict v;
	cwb_verdict_of(report, &v);
	if (v.state != CWB_VERDICT_NO_GATE) {
		(void)fprintf(f, "**%s.** ", v.headline);
		plain(f, v.gate);
		(void)fputs("\n\n", f);
	}
	if (v.recovery[0] != '\0') {
		plain(f, v.recovery);
		(void)fputs("\n\n", f);
	}
}

static void evaluation(FILE *f, const json_t *report)
{
	const json_t *list = json_object_get(report, "evaluation"), *e;
	size_t i;
	if (json_array_size(list) == 0) {
		return;
	}
	(void)fputs("## Evaluation\n\n", f);
	verdict(f, report);
	if (json_is_object(json_object_get(report, "converted"))) {
		(void)fputs("Measured on the output that this one was converted from.\n\n", f);
	}
	(void)fputs("| evaluation | metric | n | original | quantized | protected |\n"
		"| --- | --- | ---: | ---: | ---: | ---: |\n", f);
	json_array_foreach ((json_t *)(uintptr_t)list, i, e) {
		if (!cwe_report_is_whole(e)) {
			continue; /* groups are in the report */
		}
		(void)fputs("| ", f);
		plain(f, cwe_report_text_of(e, "name"));
		(void)fputs(" | ", f);
		plain(f, cwe_report_text_of(e, "metric"));
		(void)fprintf(f, " | %lld |", (long long)json_integer_value(json_object_get(e, "n")));
		number(f, e, "original");
		number(f, e, "quantized");
		number(f, e, "protected");
		(void)fputc('\n', f);
	}
	(void)fputc('\n', f);
	(void)fputs("In brackets: 95 % confidence intervals.\n", f);
}

int cwe_report_card(const json_t *report, char **ret, size_t *ret_length)
{
	char *text = NULL, *model = base_name(cwe_report_text_of(json_object_get(report, "job"), "model"));
	size_t length = 0;
	FILE *f = model != NULL ? open_memstream(&text, &length) : NULL;
	if (f == NULL) {
		free(model);
		return -ENOMEM;
	}
	const char *name = cwe_report_text_of(json_object_get(report, "job"), "name");
	front_matter(f, report, model);
	(void)fputs("# ", f);
	plain(f, name[0] != '\0' ? name : model);
	(void)fputs("\n\nA quantized model, made with cwpd by Critical Weight Protection "
		"([arXiv 2601.12033](https://arxiv.org/abs/2601.12033)): the weights that matter most to the calibration sets below keep "
		"their exact values. `report.html` has the details, `manifest.json` the digests of all files.\n\n", f);
	facts(f, report, model);
	loading(f, report);
	evaluation(f, report);
	free(model);
	int failed = ferror(f);
	if (fclose(f) != 0 || failed) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	*ret_length = length;
	return 0;
}
