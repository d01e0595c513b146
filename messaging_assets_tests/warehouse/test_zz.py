import pytest
from messaging_assets_tests.warehouse.test_traces import *
def test_sizes(everything, tmp_path):
    everything.sync("messages")
    print([str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()])
    padding = "".join(chr(33 + (i * 7919) % 90) for i in range(8 * KILOBYTE))
    everything.sandbox.reshape("messages", lambda row: {**row, "text": CONTENT + row["id"] + padding, "more": [row["id"], padding[::-1]]})
    print(everything.location.database.stat().st_size)
    for kb in (0,1,2,4,8,16,32,64,128,256,512,700,800,900,1000,1100,1200,1300,1500,1700,2000):
        child = tmp_path / f"child{kb}"
        child.mkdir()
        print(kb, Errand.of(everything, child, "messages", largest_file=kb*1024).run()[:230])
        print("   ", [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() and "child" not in str(p)], (child/"output").read_text()[:300])
        everything.query("select count(*) from chat.messages")
