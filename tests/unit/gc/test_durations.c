/* unit/gc/test_durations.c: the classes of durations. */
#include "unit/unit.h"

#include "gc/gc.h"

static void classes_follow_one_another(void **state)
{
    (void)state;
    assert_int_equal(ouroi_duration_class(0), 0);
    for (unsigned i = 0; i + 1 < OUROI_DURATION_CLASSES; i++) {
        uint64_t bound = ouroi_duration_bound(i);
        assert_int_equal(ouroi_duration_class(bound), i);
        assert_int_equal(ouroi_duration_class(bound + 1), i + 1);
        assert_true(ouroi_duration_bound(i + 1) > bound);
        /* no wider than an eighth of where it begins, but for the first, of one nanosecond each */
        assert_true(ouroi_duration_bound(i + 1) - bound <= (bound < 8 ? 1 : bound / 8));
    }
    for (unsigned power = 3; power < 40; power++) /* so that they add up to the bounds that OpenMetrics shows */
        assert_int_equal(ouroi_duration_bound(ouroi_duration_class((uint64_t)1 << power)), (uint64_t)1 << power);
    assert_int_equal(ouroi_duration_class(UINT64_MAX), OUROI_DURATION_CLASSES - 1);
}

static void quantiles(void **state)
{
    (void)state;
    struct ouroi_durations durations = { 0 };
    assert_int_equal(ouroi_durations_quantile(&durations, 500), 0);
    for (uint64_t ns = 1; ns <= 1000000; ns++) {
        durations.classes[ouroi_duration_class(ns)]++;
        durations.count++;
    }
    durations.max_ns = 1000000;
    for (unsigned per_mille = 1; per_mille <= 1000; per_mille++) {
        uint64_t exact = (uint64_t)per_mille * 1000, said = ouroi_durations_quantile(&durations, per_mille);
        assert_true(said >= exact && said - exact <= exact / 8);
    }
    assert_int_equal(ouroi_durations_quantile(&durations, 1000), 1000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(classes_follow_one_another), cmocka_unit_test(quantiles) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
