/* Pairs from Python: what dict.update takes, and Arrow tables, gathered in batches of about 1 MiB and handed on. */
#ifndef NORI_PYTHON_PAIRS_H
#define NORI_PYTHON_PAIRS_H

#include "python/binding.h"

#define PY_PAIRS_BATCH_BYTES ((size_t)1 << 20)

struct py_pairs {
    struct py_engine *engine; /* Borrowed. */
    struct nori_batch *batch; /* Owned. */
    const char *what;         /* The method, for messages. */
    /* Takes the batch, which is not empty and is cleared afterwards; -1 with an exception. */
    int (*hand_on)(struct py_pairs *pairs);
};

int py_pairs_init(struct py_pairs *pairs, struct py_engine *engine, const char *what,
                  int (*hand_on)(struct py_pairs *pairs));
void py_pairs_clear(struct py_pairs *pairs);
/* All of a mapping, a reader, a table or an iterable of pairs, and hands on what is left at the end. -1 with an
 * exception: what was not handed on yet is dropped by clear. */
int py_pairs_add_all(struct py_pairs *pairs, PyObject *other);

/* For its own files. Hands on what is gathered, if there is something. */
int py_pairs_hand_on(struct py_pairs *pairs);
/* arrow_import.c: all rows of the stream that 'method', an __arrow_c_stream__, returns. */
int py_pairs_add_arrow(struct py_pairs *pairs, PyObject *method);

#endif
