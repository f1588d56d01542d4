package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"gocloud.dev/blob/azureblob"
)

// openAzure was never run against a server by this project's tests; see Open.
func openAzure(ctx context.Context, at place, cfg Config) (Store, error) {
	client, err := azureClient(at, cfg)
	if err != nil {
		return nil, err
	}
	blobs, err := azureblob.OpenBucket(ctx, client, nil)
	if err != nil {
		return nil, err
	}
	b := &bucket{at: at, blobs: blobs, secrets: secretsOf(cfg.Credentials), limit: cfg.StallLimit, status: azureStatus}
	b.create = func(ctx context.Context, name string) Writer { return newPipeWriter(ctx, blobs, name) }
	b.remove = blobs.Delete
	return b, nil
}

// azureClient knows three ways to prove who it is: the account's key, a shared access signature, and what the library
// finds on the machine (managed identity, environment). The account's name and the cloud's domain may come from the
// environment too (AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_DOMAIN).
func azureClient(at place, cfg Config) (*container.Client, error) {
	hc, err := newClient(cfg.Credentials.CA, cfg.StallLimit)
	if err != nil {
		return nil, err
	}
	c := cfg.Credentials
	o := azureblob.NewDefaultServiceURLOptions()
	if c.AzureAccount != "" {
		o.AccountName = c.AzureAccount
	}
	if o.AccountName == "" {
		return nil, errors.New("the Azure storage account is not known; set azureAccount in the credentials file")
	}
	// A backup holds the CA's keys: not unencrypted because a variable of the machine says so.
	o.SASToken, o.Protocol = "", "https"
	service, err := azureblob.NewServiceURL(o)
	if err != nil {
		return nil, err
	}
	at0 := strings.TrimSuffix(string(service), "/") + "/" + url.PathEscape(at.bucket)
	opts := &container.ClientOptions{ClientOptions: azcore.ClientOptions{Transport: hc}}
	switch {
	case c.AzureKey != "" && c.AzureSAS != "":
		return nil, errors.New("the credentials have both azureKey and azureSAS; one is enough")
	case c.AzureKey != "":
		key, err := container.NewSharedKeyCredential(o.AccountName, c.AzureKey)
		if err != nil {
			// Its own words may quote the key.
			return nil, errors.New("azureKey in the credentials file is not the base64 text that Azure shows as the account's key")
		}
		return container.NewClientWithSharedKeyCredential(at0, key, opts)
	case c.AzureSAS != "":
		return container.NewClientWithNoCredential(at0+"?"+strings.TrimPrefix(c.AzureSAS, "?"), opts)
	}
	found, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: azcore.ClientOptions{Transport: hc},
	})
	if err != nil {
		return nil, fmt.Errorf("no Azure credentials; set azureKey or azureSAS in the credentials file: %w", err)
	}
	return container.NewClient(at0, found, opts)
}

func azureStatus(err error) (status int, code string) {
	var answer *azcore.ResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode, answer.ErrorCode
	}
	return 0, ""
}
