"""Operations of several steps on running services: run or watch a job, plan a download, run a query, the demo."""
