from mu2net.train.events import BatchDone, IntervalDone, Reporter


def test_batches_are_thinned_out_and_intervals_are_not():
    seen = []
    reporter = Reporter(seen.append, gap=3600)
    for done in range(5):
        reporter.batch("train", 0, done, 5)
    done = IntervalDone("a", 0, 0.5, 1.0, 10, 0.1, 2.0, 0.5)
    reporter.interval(done)
    reporter.interval(done)
    assert seen == [BatchDone("train", 0, 0, 5), done, done]


def test_without_a_gap_every_batch_is_told():
    seen = []
    reporter = Reporter(seen.append, gap=0)
    for done in range(3):
        reporter.batch("validate", 1, done, 3)
    assert [event.done for event in seen] == [0, 1, 2]
