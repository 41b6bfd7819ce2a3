/* What a repair tells. */
#include "engine/repair.h"

#include <stdio.h>

#include "base/alloc.h"

nori_status nr_repair_grow(void **array, size_t count, size_t *capacity, size_t size, struct nori_error *err)
{
    if (count < *capacity) return NORI_OK;
    size_t more = *capacity * 2 + 16;
    void *grown = nr_realloc(*array, more * size);
    if (!grown) return nr_fail_memory(err, more * size);
    *array = grown;
    *capacity = more;
    return NORI_OK;
}

nori_status nr_repair_tell(struct nr_repair *repair, struct nori_error *err)
{
    return nr_call_tell(repair->fn, repair->arg, &repair->progress, err);
}

void nr_repair_table_path(const struct nr_repair *repair, uint64_t number, char path_out[NR_REPAIR_PATH_BYTES])
{
    char name[NR_FILE_NAME_BYTES];
    nr_name_table(name, number);
    snprintf(path_out, NR_REPAIR_PATH_BYTES, "%s/%s", repair->source->path, name);
}

nori_status nr_repair_note(struct nr_repair *repair, const struct nori_error *damage, size_t *finding_out,
                           struct nori_error *err)
{
    struct nori_repair_report *report = repair->report;
    size_t bytes = (report->finding_count + 1) * sizeof *report->findings;
    if (finding_out) *finding_out = NR_REPAIR_NO_FINDING;
    if (report->finding_count == NR_REPAIR_FINDINGS) {
        report->unlisted++;
        return NORI_OK;
    }
    struct nori_repair_finding *grown = nr_realloc(report->findings, bytes);
    if (!grown) return nr_fail_memory(err, bytes);
    report->findings = grown;
    if (finding_out) *finding_out = report->finding_count;
    struct nori_repair_finding *finding = &grown[report->finding_count++];
    memset(finding, 0, sizeof *finding);
    nr_finding_fill(&finding->what, damage);
    return NORI_OK;
}

static nori_status copy_key(nori_slice key, nori_slice *copy_out, struct nori_error *err)
{
    uint8_t *copy = nr_alloc(key.size + 1); /* An empty key is not NULL. */
    if (!copy) return nr_fail_memory(err, key.size + 1);
    if (key.size > 0) memcpy(copy, key.data, key.size);
    *copy_out = nr_slice(copy, key.size);
    return NORI_OK;
}

nori_status nr_repair_note_range(struct nr_repair *repair, const struct nori_error *damage, nori_slice start,
                                 struct nr_bound end, size_t *finding_out, struct nori_error *err)
{
    size_t index;
    nori_status rc = NORI_OK;
    NR_CHECK(nr_repair_note(repair, damage, &index, err));
    if (finding_out) *finding_out = index;
    if (index == NR_REPAIR_NO_FINDING) goto out;
    struct nori_repair_finding *finding = &repair->report->findings[index];
    NR_CHECK(copy_key(start, &finding->start, err));
    if (!end.infinite) NR_CHECK(copy_key(end.key, &finding->stop, err));
    finding->has_range = true;
out:
    return rc;
}

nori_status nr_repair_pass_by(void *arg NR_UNUSED, const struct nori_error *damage NR_UNUSED,
                              struct nori_error *err NR_UNUSED)
{
    return NORI_OK;
}

void nr_repair_drop(struct nr_repair *repair, size_t finding, uint64_t count)
{
    repair->report->dropped += count;
    if (finding != NR_REPAIR_NO_FINDING) repair->report->findings[finding].dropped += count;
}

void nori_repair_report_clear(struct nori_repair_report *report)
{
    for (size_t i = 0; i < report->finding_count; i++) {
        nr_free((void *)(uintptr_t)report->findings[i].start.data);
        nr_free((void *)(uintptr_t)report->findings[i].stop.data);
    }
    nr_free(report->findings);
    memset(report, 0, sizeof *report);
}
