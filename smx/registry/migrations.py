"""The registry's schema, as migrations that only append. Each runs in one transaction, in order."""

from __future__ import annotations

MIGRATIONS: list[tuple[str, str]] = [
    (
        "0001_first",
        """
        create table runs (
            fingerprint text primary key,       -- 64 hex digits
            kind text not null check (kind in ('gen', 'train', 'eval')),
            name text not null,                 -- readable part of the folder name
            folder text not null,               -- relative to the workspace's runs folder: kind/name-fingerprint8
            variant text,                       -- null for gen
            sampler text,
            frames integer,
            bench text,                         -- eval
            dataset text,                       -- gen: dataset; train: data
            seed integer not null default 0,
            spec text not null,                 -- the frozen spec, canonical JSON
            labels text not null default '{}',  -- JSON: untrained, stand_in_for, experiment …
            state text not null default 'new',
            items integer,                      -- how many items the run has
            done integer not null default 0,
            failed integer not null default 0,
            created text not null,              -- ISO 8601 UTC
            updated text not null
        );
        create index runs_cell on runs (kind, variant, sampler, frames, bench);

        create table submissions (
            id text primary key,                -- written before the scheduler is asked
            executor text not null,
            name text not null,                 -- job name: smx-<id>
            job text,                           -- the scheduler's job id or local pid, once known
            script_digest text,
            created text not null,
            answer text                         -- what the scheduler said, verbatim
        );

        create table attempts (
            fingerprint text not null references runs (fingerprint),
            attempt integer not null,           -- 1..n
            submission text references submissions (id),
            executor text not null,
            handle text,                        -- JSON from the executor; null until it answered
            job text,                           -- job id or pid, for people
            state text not null,
            unknown_since text,                 -- a source could not be reached since then
            items integer not null,             -- items this attempt was given
            done integer not null default 0,
            failed integer not null default 0,
            mark text check (mark in ('doubtful', 'excluded')),
            created text not null,
            started text,
            ended text,
            failure text,                       -- JSON {kind, line, evidence}
            provenance text not null default '{}',  -- JSON: git, versions, command, user, host
            primary key (fingerprint, attempt)
        );
        create index attempts_state on attempts (state);

        create table shards (
            fingerprint text not null,
            attempt integer not null,
            shard integer not null,
            state text not null,
            host text,
            done integer not null default 0,
            failed integer not null default 0,
            heartbeat text,
            primary key (fingerprint, attempt, shard),
            foreign key (fingerprint, attempt) references attempts (fingerprint, attempt)
        );

        create table scores (
            fingerprint text not null references runs (fingerprint),
            bench text not null,
            scorer text not null,               -- name@version
            metric text not null,               -- 'all.micro', 'acc.macro', 'mra.micro', 'type', 'task'
            task text not null default '',      -- question type or task for metric 'type' / 'task'
            value real,
            n integer not null,
            unparsed integer not null default 0,
            ci_low real,
            ci_high real,
            primary key (fingerprint, bench, scorer, metric, task)
        );

        create table run_inputs (
            fingerprint text not null references runs (fingerprint),
            role text not null,                 -- 'sample_set', 'checkpoint', 'data'
            input text not null,                -- fingerprint of the run it comes from, or a digest
            primary key (fingerprint, role, input)
        );

        create table notes (
            fingerprint text not null,
            created text not null,
            author text not null default '',
            text text not null,
            primary key (fingerprint, created, text)
        );

        create table tags (
            fingerprint text not null,
            tag text not null,
            primary key (fingerprint, tag)
        );

        create table imports (                  -- the lab's past: jobs and scores smx did not run
            id integer primary key,
            source text not null,
            position integer not null,          -- order in the source file
            what text not null check (what in ('job', 'score')),
            date text,
            kind text,
            variant text,
            sampler text,
            frames integer,
            bench text,
            jobs text not null default '[]',    -- JSON list of ids, the one that counts first
            mark text,
            note text,
            metric text,
            value real,
            n integer,
            entry text not null,                -- the whole entry, JSON
            digest text not null unique         -- of source name and entry: importing twice changes nothing
        );
        """,
    ),
]
