// Scrapes one target as Prometheus does, with its own scrape manager and storage, and prints what it has stored: a line
// of JSON for each series. Lines on standard error are what promtool would find fault with.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func lint(address string) {
	answer, err := http.Get("http://" + address + "/metrics")
	check(err)
	defer answer.Body.Close()
	problems, err := promlint.New(answer.Body).Lint()
	check(err)
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem.Metric+":", problem.Text)
	}
}

func main() {
	address := os.Args[1]
	lint(address)
	folder, err := os.MkdirTemp("", "scraped")
	check(err)
	defer os.RemoveAll(folder)
	quiet := slog.New(slog.DiscardHandler)
	db, err := tsdb.Open(folder, quiet, prometheus.NewRegistry(), tsdb.DefaultOptions(), nil)
	check(err)
	defer db.Close()
	manager, err := scrape.NewManager(&scrape.Options{}, quiet, nil, db, prometheus.NewRegistry())
	check(err)
	written := "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n- job_name: quartermaster\n"
	settings, err := config.Load(written, quiet)
	check(err)
	check(manager.ApplyConfig(settings))
	targets := make(chan map[string][]*targetgroup.Group)
	go manager.Run(targets)
	targets <- map[string][]*targetgroup.Group{"quartermaster": {{
		Targets: []model.LabelSet{{model.AddressLabel: model.LabelValue(address)}}, Source: "here"}}}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		if show(db) || time.Now().After(end) {
			break
		}
	}
	manager.Stop()
}

// show prints all series once there are some, whether or not the target was up.
func show(db *tsdb.DB) bool {
	querier, err := db.Querier(0, math.MaxInt64)
	check(err)
	defer querier.Close()
	found := querier.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchRegexp, "__name__", ".+"))
	some := false
	var samples chunkenc.Iterator
	for found.Next() {
		some = true
		samples = found.At().Iterator(samples)
		last := math.NaN()
		for samples.Next() == chunkenc.ValFloat {
			_, last = samples.At()
		}
		line, err := json.Marshal(map[string]any{"labels": found.At().Labels().Map(), "value": fmt.Sprint(last)})
		check(err)
		fmt.Println(string(line))
	}
	check(found.Err())
	return some
}
