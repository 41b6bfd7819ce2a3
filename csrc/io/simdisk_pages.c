/* The bytes of files: what is written, what is on the disk, what a crash leaves. */
#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "io/simdisk.h"

static int grow(struct nr_sim_pages *pages, size_t count)
{
    size_t capacity = NR_MAX(pages->capacity, 4);
    if (count <= pages->capacity) return 0;
    while (capacity < count) capacity *= 2;
    uint32_t *touched = nr_realloc_spared(pages->touched, capacity * sizeof(*touched));
    if (!touched) return ENOMEM;
    pages->touched = touched;
    struct nr_sim_page *items = nr_realloc_spared(pages->items, capacity * sizeof(*items));
    if (!items) return ENOMEM;
    memset(items + pages->capacity, 0, (capacity - pages->capacity) * sizeof(*items));
    pages->items = items;
    pages->capacity = capacity;
    return 0;
}

int nr_sim_pages_prepare(struct nr_sim_pages *pages, uint64_t offset, uint64_t size, bool spare)
{
    if (size == 0) return 0;
    if (size > UINT64_MAX - offset || offset + size > (uint64_t)UINT32_MAX * NR_SIM_PAGE_BYTES) return EFBIG;
    size_t first = (size_t)(offset / NR_SIM_PAGE_BYTES), last = (size_t)((offset + size - 1) / NR_SIM_PAGE_BYTES);
    int code = grow(pages, last + 1);
    if (code != 0) return code;
    for (size_t i = first; i <= last; i++) {
        struct nr_sim_page *page = &pages->items[i];
        bool is_new = !page->current;
        if (is_new && !(page->current = nr_calloc_spared(1, NR_SIM_PAGE_BYTES))) return ENOMEM;
        /* A new page's bytes on the disk are zeros, for which no buffer is needed. */
        bool needs_durable = !page->durable && (spare || (!is_new && !(page->dirty | page->lost)));
        if (!needs_durable) continue;
        if (!(page->durable = nr_calloc_spared(1, NR_SIM_PAGE_BYTES))) return ENOMEM;
        if (page->dirty | page->lost) memset(page->durable, 0, NR_SIM_PAGE_BYTES);
    }
    return 0;
}

/* The bits of the sectors that [from, to) of a page lies in. */
static uint8_t sectors_of(const struct nr_sim_disk *disk, size_t from, size_t to)
{
    unsigned first = (unsigned)(from / disk->sector_bytes), last = (unsigned)((to - 1) / disk->sector_bytes);
    return (uint8_t)((2u << last) - (1u << first));
}

void nr_sim_inode_write(const struct nr_sim_disk *disk, struct nr_sim_inode *inode, uint64_t offset, nori_slice data)
{
    struct nr_sim_pages *pages = &inode->pages;
    while (data.size > 0) {
        size_t index = (size_t)(offset / NR_SIM_PAGE_BYTES), from = (size_t)(offset % NR_SIM_PAGE_BYTES);
        size_t size = NR_MIN(data.size, NR_SIM_PAGE_BYTES - from);
        struct nr_sim_page *page = &pages->items[index];
        if (!(page->dirty | page->lost)) {
            if (page->durable) memcpy(page->durable, page->current, NR_SIM_PAGE_BYTES);
            pages->touched[pages->touched_count++] = (uint32_t)index;
        }
        uint8_t sectors = sectors_of(disk, from, from + size);
        page->dirty |= sectors;
        page->lost &= (uint8_t)~sectors;
        memcpy(page->current + from, data.data, size);
        data = nr_slice(data.data + size, data.size - size);
        offset += size;
    }
    inode->size_bytes = NR_MAX(inode->size_bytes, offset);
}

void nr_sim_inode_read(const struct nr_sim_inode *inode, uint64_t offset, uint8_t *data, size_t size)
{
    while (size > 0) {
        uint64_t index = offset / NR_SIM_PAGE_BYTES;
        size_t from = (size_t)(offset % NR_SIM_PAGE_BYTES), some = NR_MIN(size, NR_SIM_PAGE_BYTES - from);
        const uint8_t *page = index < inode->pages.capacity ? inode->pages.items[index].current : NULL;
        if (page)
            memcpy(data, page + from, some);
        else
            memset(data, 0, some);
        data += some;
        offset += some;
        size -= some;
    }
}

static void copy_sectors(const struct nr_sim_disk *disk, uint8_t *to, const uint8_t *from, uint8_t sectors)
{
    for (size_t at = 0; at < NR_SIM_PAGE_BYTES; at += disk->sector_bytes, sectors >>= 1) {
        if (!(sectors & 1)) continue;
        if (from)
            memcpy(to + at, from + at, disk->sector_bytes);
        else
            memset(to + at, 0, disk->sector_bytes);
    }
}

static void set_clean(const struct nr_sim_inode *inode, struct nr_sim_page *page)
{
    page->dirty = page->lost = 0;
    if (inode->keeps_buffers) return;
    nr_free(page->durable);
    page->durable = NULL;
}

int nr_sim_inode_sync(const struct nr_sim_disk *disk, struct nr_sim_inode *inode)
{
    struct nr_sim_pages *pages = &inode->pages;
    /* Only a page with lost sectors goes on having bytes on the disk of its own. */
    for (size_t i = 0; i < pages->touched_count; i++) {
        struct nr_sim_page *page = &pages->items[pages->touched[i]];
        if (page->lost && !page->durable && !(page->durable = nr_calloc_spared(1, NR_SIM_PAGE_BYTES))) return ENOMEM;
    }
    size_t kept = 0;
    for (size_t i = 0; i < pages->touched_count; i++) {
        struct nr_sim_page *page = &pages->items[pages->touched[i]];
        if (!page->lost) {
            set_clean(inode, page);
            continue;
        }
        copy_sectors(disk, page->durable, page->current, page->dirty);
        page->dirty = 0;
        pages->touched[kept++] = pages->touched[i];
    }
    pages->touched_count = kept;
    inode->durable_size_bytes = inode->size_bytes;
    return 0;
}

void nr_sim_inode_lose(struct nr_sim_inode *inode)
{
    for (size_t i = 0; i < inode->pages.touched_count; i++) {
        struct nr_sim_page *page = &inode->pages.items[inode->pages.touched[i]];
        page->lost |= page->dirty;
        page->dirty = 0;
    }
}

void nr_sim_inode_crash(struct nr_sim_disk *disk, struct nr_sim_inode *inode, double keep)
{
    struct nr_sim_pages *pages = &inode->pages;
    uint64_t size = inode->durable_size_bytes;
    inode->keeps_buffers = false;
    for (size_t i = 0; i < pages->touched_count; i++) {
        struct nr_sim_page *page = &pages->items[pages->touched[i]];
        uint8_t sectors = page->dirty | page->lost, dropped = 0;
        uint64_t start = (uint64_t)pages->touched[i] * NR_SIM_PAGE_BYTES;
        for (unsigned bit = 0; sectors >> bit; bit++) {
            if (!(sectors >> bit & 1)) continue;
            uint64_t end = NR_MIN(start + (uint64_t)(bit + 1) * disk->sector_bytes, inode->size_bytes);
            if (nr_random_unit(&disk->random) < keep)
                size = NR_MAX(size, end);
            else
                dropped |= (uint8_t)(1u << bit);
        }
        copy_sectors(disk, page->current, page->durable, dropped);
        set_clean(inode, page);
    }
    pages->touched_count = 0;
    if (inode->size_bytes > size && nr_random_unit(&disk->random) < keep) size = inode->size_bytes;
    inode->size_bytes = inode->durable_size_bytes = size;
}

void nr_sim_pages_clear(struct nr_sim_pages *pages)
{
    for (size_t i = 0; i < pages->capacity; i++) {
        nr_free(pages->items[i].current);
        nr_free(pages->items[i].durable);
    }
    nr_free(pages->items);
    nr_free(pages->touched);
    *pages = (struct nr_sim_pages){0};
}
