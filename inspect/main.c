/* SPDX-FileCopyrightText: cwpd developers
 * SPDX-License-Identifier: Apache-2.0 */
/* cwp-inspect: looks at models, tokenizers and outputs; needs no daemon. */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/quantity.h"
#include "config.h"
#include "engine/model/generate.h"
#include "inspect/inspect.h"

#define USAGE 64

enum need { NEEDS_OUT = 1, NEEDS_SAMPLES = 2, TAKES_ADAPTERS = 4, TAKES_TWO = 8, TAKES_NONE = 16 };

static const struct {
	const char *name;
	int (*run)(const struct cwi_options *o);
	int needs;
	const char *usage;
	const char *help;
} verbs[] = {
	{"tokens", cwi_tokens, 0, "MODEL", "texts or conversations on standard input -> token ids"},
	{"logits", cwi_logits, NEEDS_OUT | TAKES_ADAPTERS, "MODEL --out F.safetensors", "lines of {\"ids\"} -> logits of every token"},
	{"loglik", cwi_loglik, TAKES_ADAPTERS, "MODEL", "lines of context and continuation -> log-likelihoods"},
	{"generate", cwi_generate, TAKES_ADAPTERS, "MODEL", "prompts on standard input -> greedy continuations"},
	{"statistics", cwi_statistics, NEEDS_OUT | NEEDS_SAMPLES | TAKES_ADAPTERS, "MODEL --samples S.jsonl --out F.safetensors",
		"sample file -> gradient and activation statistics of every parameter"},
	{"dense", cwi_dense, NEEDS_OUT | TAKES_ADAPTERS, "OUTPUT --out DIR [--dtype f32|bf16]",
		"an output of ours, or a model with adapters, as a dense checkpoint"},
	{"convert", cwi_convert, NEEDS_OUT, "OUTPUT --out DIR [--format F] [--carrier C]",
		"an output of ours in another format, or with another carrier"},
	{"masks", cwi_masks, TAKES_TWO, "OUTPUT OUTPUT", "how much two outputs protect the same weights, by module"},
	{"verify", cwi_verify, 0, "OUTPUT", "checks an output's manifest, digests and structure"},
	{"formats", cwi_formats, TAKES_NONE, "", "which quantizers, formats and carriers go together, as tables of Markdown"},
	{"plan", cwi_plan, 0, "JOB.yaml", "what a job will do and need"},
};

enum { OPT_ADAPTER = 256, OPT_OUT, OPT_FORMAT, OPT_CARRIER, OPT_SAMPLES, OPT_DTYPE, OPT_THREADS, OPT_PLUGIN_DIR, OPT_SCRATCH, OPT_MEMORY, OPT_CHAT,
	OPT_BATCH, OPT_BACKEND, OPT_PRECISION, OPT_ACTIVATIONS, OPT_HELP, OPT_VERSION };

static const struct option long_options[] = {{"adapter", required_argument, NULL, OPT_ADAPTER}, {"out", required_argument, NULL, OPT_OUT},
	{"format", required_argument, NULL, OPT_FORMAT}, {"carrier", required_argument, NULL, OPT_CARRIER},
	{"samples", required_argument, NULL, OPT_SAMPLES}, {"dtype", required_argument, NULL, OPT_DTYPE},
	{"threads", required_argument, NULL, OPT_THREADS}, {"plugin-dir", required_argument, NULL, OPT_PLUGIN_DIR},
	{"scratch", required_argument, NULL, OPT_SCRATCH}, {"memory", required_argument, NULL, OPT_MEMORY},
	{"chat", required_argument, NULL, OPT_CHAT}, {"batch", required_argument, NULL, OPT_BATCH},
	{"backend", required_argument, NULL, OPT_BACKEND}, {"precision", required_argument, NULL, OPT_PRECISION}, {"activations", required_argument, NULL, OPT_ACTIVATIONS},
	{"help", no_argument, NULL, OPT_HELP}, {"version", no_argument, NULL, OPT_VERSION}, {NULL, 0, NULL, 0}};

static void usage(FILE *f)
{
	(void)fputs("usage: cwp-inspect VERB OPERAND [options]\n\n", f);
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		(void)fprintf(f, "  %s %s\n      %s\n", verbs[i].name, verbs[i].usage, verbs[i].help);
	}
	(void)fputs("\noptions:\n"
		    "  --adapter DIR     PEFT LoRA adapter to merge into MODEL; may be given several times\n"
		    "  --format F        of convert, as write.format (default compressed-tensors)\n"
		    "  --carrier C       of convert, as protect.carrier (default overlay)\n"
		    "  --threads N       threads (default: all that may be used)\n"
		    "  --scratch DIR     folder for activations that should not stay in memory\n"
		    "  --memory SIZE     weights that generate keeps in memory (default 4GiB)\n"
		    "  --chat FORMAT     chat format of \"messages\": a name, or the path of a format file (default: the model's)\n"
		    "  --batch N         sequences that generate continues at once, 1 to 16 (default: by the memory of their caches)\n"
		    "  --backend B       auto (default: a GPU where there is one), cpu, cuda or cuda:UUID\n"
		    "  --precision P     what products round to: f32 (default), bf16, or auto (bf16 on a GPU)\n"
		    "  --activations A   on: inputs are quantized as the output says (default); off: its weights alone are\n"
		    "  --plugin-dir DIR  another folder of plugins\n"
		    "  --help, --version\n"
		    "\nExit: 0 done, 64 usage, 65 bad input.\n", f);
}

static int refuse(const char *what, const char *value)
{
	(void)fprintf(stderr, "cwp-inspect: %s %s; try cwp-inspect --help\n", what, value);
	return -1;
}

static int take_precision(struct cwi_options *o, const char *text)
{
	static const char *const name[] = {[CWJ_PRECISION_AUTO] = "auto", [CWJ_PRECISION_F32] = "f32", [CWJ_PRECISION_BF16] = "bf16"};
	for (int i = 0; i < 3; i++) {
		if (strcmp(text, name[i]) == 0) {
			o->device.precision = (enum cwj_precision)i;
			return 0;
		}
	}
	return refuse("no precision (f32, bf16 or auto):", text);
}

static int take_option(struct cwi_options *o, int option)
{
	char *end;
	unsigned long n;
	switch (option) {
	case OPT_ADAPTER:
		if (o->n_adapters == CWI_ADAPTERS_MAX) {
			return refuse("more adapters than can be merged:", optarg);
		}
		o->adapters[o->n_adapters++] = optarg;
		return 0;
	case OPT_OUT:
		o->out = optarg;
		return 0;
	case OPT_FORMAT:
		o->format = optarg;
		return 0;
	case OPT_CARRIER:
		o->carrier = optarg;
		return 0;
	case OPT_SAMPLES:
		o->samples = optarg;
		return 0;
	case OPT_DTYPE:
		o->dtype = optarg;
		return 0;
	case OPT_PLUGIN_DIR:
		o->plugin_dir = optarg;
		return 0;
	case OPT_CHAT:
		o->chat = optarg;
		return 0;
	case OPT_SCRATCH:
		o->scratch = optarg;
		return 0;
	case OPT_THREADS:
		n = strtoul(optarg, &end, 10);
		o->threads = n <= 4096 ? (uint32_t)n : 0;
		return *end != '\0' || o->threads < 1 ? refuse("no number of threads:", optarg) : 0;
	case OPT_BATCH:
		n = strtoul(optarg, &end, 10);
		o->batch = n <= CWE_GENERATOR_SLOTS ? (uint32_t)n : 0;
		return *end != '\0' || o->batch < 1 ? refuse("no number of sequences from 1 to 16:", optarg) : 0;
	case OPT_MEMORY:
		return cwb_size_parse(optarg, &o->memory) != 0 ? refuse("no size:", optarg) : 0;
	case OPT_BACKEND:
		o->device.backend = optarg;
		return cwj_backend_is_known(optarg) ? 0 : refuse("no backend (auto, cpu, cuda or cuda:UUID):", optarg);
	case OPT_PRECISION:
		return take_precision(o, optarg);
	case OPT_ACTIVATIONS:
		o->exact_inputs = strcmp(optarg, "off") == 0;
		return !o->exact_inputs && strcmp(optarg, "on") != 0 ? refuse("activations are on or off, not", optarg) : 0;
	default:
		return -1;
	}
}

/* Answers that did not arrive, on a full disk perhaps, are no success. */
static int finish(int code)
{
	int failed = ferror(stdout) != 0; /* some of it earlier, when errno was another */
	errno = failed ? EIO : 0;
	if (code == 0 && (fflush(stdout) != 0 || failed)) {
		struct cwb_err err = {0};
		(void)cwb_err_errno(&err, "standard output");
		return cwi_fail(&err);
	}
	return code;
}

int main(int argc, char **argv)
{
	struct cwi_options o = {.memory = 4ull << 30, .device = {.backend = "auto", .precision = CWJ_PRECISION_F32}};
	int option;
	while ((option = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (option == OPT_HELP) {
			usage(stdout);
			return 0;
		}
		if (option == OPT_VERSION) {
			(void)printf("cwp-inspect %s\n", PACKAGE_VERSION);
			return 0;
		}
		if (take_option(&o, option) != 0) {
			return USAGE;
		}
	}
	int operands = argc - optind - 1;
	if (operands < 0 || operands > 2) {
		usage(stderr);
		return USAGE;
	}
	o.operand = argv[optind + 1]; /* NULL behind the last */
	o.second = operands > 1 ? argv[optind + 2] : NULL;
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
		if (strcmp(verbs[i].name, argv[optind]) != 0) {
			continue;
		}
		if (((verbs[i].needs & NEEDS_OUT) && o.out == NULL) || ((verbs[i].needs & NEEDS_SAMPLES) && o.samples == NULL)) {
			(void)refuse("missing option; usage: cwp-inspect", verbs[i].name);
			(void)fprintf(stderr, "       cwp-inspect %s %s\n", verbs[i].name, verbs[i].usage);
			return USAGE;
		}
		if (operands != (verbs[i].needs & TAKES_TWO ? 2 : verbs[i].needs & TAKES_NONE ? 0 : 1)) {
			(void)refuse("wrong number of operands; usage: cwp-inspect", verbs[i].name);
			(void)fprintf(stderr, "       cwp-inspect %s %s\n", verbs[i].name, verbs[i].usage);
			return USAGE;
		}
		if (o.n_adapters > 0 && !(verbs[i].needs & TAKES_ADAPTERS)) {
			(void)refuse("--adapter means nothing to the verb", verbs[i].name);
			return USAGE;
		}
		return finish(verbs[i].run(&o));
	}
	(void)refuse("unknown verb:", argv[optind]);
	return USAGE;
}
