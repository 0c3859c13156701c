# What the agent asks of the Windows Update Agent: searching, and installing by update id.
#
# Prints one JSON object on standard output and nothing else. Runs on Windows PowerShell 5.1 and
# later. Never restarts the computer, and accepts licence terms of those updates only that are
# named for it.
param(
    [Parameter(Mandatory = $true)][ValidateSet('Search', 'Install')][string]$Operation,
    # Update ids, separated by commas.
    [string]$UpdateIds = '',
    # Those among them whose licence terms may be accepted.
    [string]$AcceptEulaOf = ''
)
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
[Console]::OutputEncoding = New-Object System.Text.UTF8Encoding $false

function Format-Date($date) {
    # The Windows Update Agent gives UTC without saying so.
    if ($null -eq $date) { return $null }
    return [DateTime]::SpecifyKind($date, [DateTimeKind]::Utc).ToString('yyyy-MM-ddTHH:mm:ssZ')
}

function Get-System {
    $os = Get-CimInstance -ClassName Win32_OperatingSystem
    return @{
        Caption        = $os.Caption
        Version        = $os.Version
        LastBootUpTime = $os.LastBootUpTime.ToUniversalTime().ToString('yyyy-MM-ddTHH:mm:ssZ')
    }
}

function Format-Update($update, [bool]$isInstalled) {
    $categories = @($update.Categories | ForEach-Object {
            $parent = $null
            if ($null -ne $_.Parent) { $parent = $_.Parent.Name }
            @{ CategoryID = $_.CategoryID; Name = $_.Name; Type = $_.Type; Parent = $parent }
        })
    return @{
        UpdateID                 = $update.Identity.UpdateID
        Title                    = $update.Title
        # 1: software, 2: driver.
        Type                     = $(if ($update.Type -eq 2) { 'Driver' } else { 'Software' })
        IsInstalled              = $isInstalled
        IsHidden                 = [bool]$update.IsHidden
        IsDownloaded             = [bool]$update.IsDownloaded
        RebootRequired           = [bool]$update.RebootRequired
        EulaAccepted             = [bool]$update.EulaAccepted
        CanRequestUserInput      = [bool]$update.InstallationBehavior.CanRequestUserInput
        MsrcSeverity             = $update.MsrcSeverity
        LastDeploymentChangeTime = Format-Date $update.LastDeploymentChangeTime
        KBArticleIDs             = @($update.KBArticleIDs | Where-Object { $_ } | ForEach-Object { "$_" })
        CveIDs                   = @($update.CveIDs | Where-Object { $_ } | ForEach-Object { "$_" })
        SecurityBulletinIDs      = @($update.SecurityBulletinIDs | Where-Object { $_ } | ForEach-Object { "$_" })
        SupersededUpdateIDs      = @($update.SupersededUpdateIDs | Where-Object { $_ } | ForEach-Object { "$_" })
        Categories               = $categories
    }
}

$session = New-Object -ComObject 'Microsoft.Update.Session'
$session.ClientApplicationID = 'Patchwave'

function Search-Updates {
    $searcher = $session.CreateUpdateSearcher()
    $searcher.IncludePotentiallySupersededUpdates = $false
    $updates = New-Object System.Collections.ArrayList
    foreach ($criteria in @('IsInstalled=0 and IsHidden=0', 'IsInstalled=0 and IsHidden=1', 'IsInstalled=1')) {
        $isInstalled = $criteria -eq 'IsInstalled=1'
        foreach ($update in $searcher.Search($criteria).Updates) {
            [void]$updates.Add((Format-Update $update $isInstalled))
        }
    }
    $history = @()
    $count = $searcher.GetTotalHistoryCount()
    if ($count -gt 0) {
        # The newest thousand: an instant of installation is good to know and no more.
        $history = @($searcher.QueryHistory(0, [Math]::Min($count, 1000)) | ForEach-Object {
                @{
                    UpdateID   = $_.UpdateIdentity.UpdateID
                    Title      = $_.Title
                    Date       = Format-Date $_.Date
                    # 1: installation, 2: removal.
                    Operation  = [int]$_.Operation
                    ResultCode = [int]$_.ResultCode
                    HResult    = [int]$_.HResult
                }
            })
    }
    return @{
        System         = Get-System
        RebootRequired = [bool](New-Object -ComObject 'Microsoft.Update.SystemInfo').RebootRequired
        Updates        = @($updates)
        History        = $history
    }
}

function Install-Updates {
    $wanted = @($UpdateIds -split ',' | Where-Object { $_ })
    $mayAccept = @($AcceptEulaOf -split ',' | Where-Object { $_ })
    $collection = New-Object -ComObject 'Microsoft.Update.UpdateColl'
    foreach ($update in $session.CreateUpdateSearcher().Search('IsInstalled=0 and IsHidden=0').Updates) {
        $id = $update.Identity.UpdateID
        if ($wanted -notcontains $id) { continue }
        if (-not $update.EulaAccepted) {
            if ($mayAccept -notcontains $id) { continue }
            $update.AcceptEula()
        }
        [void]$collection.Add($update)
    }
    $results = @()
    $rebootRequired = $false
    if ($collection.Count -gt 0) {
        $downloader = $session.CreateUpdateDownloader()
        $downloader.Updates = $collection
        $downloaded = $downloader.Download()
        $installable = New-Object -ComObject 'Microsoft.Update.UpdateColl'
        for ($i = 0; $i -lt $collection.Count; $i++) {
            if ($collection.Item($i).IsDownloaded) {
                [void]$installable.Add($collection.Item($i))
            }
            else {
                $result = $downloaded.GetUpdateResult($i)
                $results += @{
                    UpdateID = $collection.Item($i).Identity.UpdateID; Step = 'Download'
                    ResultCode = [int]$result.ResultCode; HResult = [int]$result.HResult; RebootRequired = $false
                }
            }
        }
        if ($installable.Count -gt 0) {
            $installer = $session.CreateUpdateInstaller()
            $installer.AllowSourcePrompts = $false
            $installer.Updates = $installable
            $installed = $installer.Install()
            $rebootRequired = [bool]$installed.RebootRequired
            for ($i = 0; $i -lt $installable.Count; $i++) {
                $result = $installed.GetUpdateResult($i)
                $results += @{
                    UpdateID = $installable.Item($i).Identity.UpdateID; Step = 'Install'
                    ResultCode = [int]$result.ResultCode; HResult = [int]$result.HResult
                    RebootRequired = [bool]$result.RebootRequired
                }
            }
        }
    }
    return @{ RebootRequired = $rebootRequired; Results = $results }
}

try {
    $answer = switch ($Operation) {
        'Search' { Search-Updates }
        'Install' { Install-Updates }
    }
    ConvertTo-Json -InputObject $answer -Depth 8 -Compress
}
catch {
    # One line, so that whoever reads standard error sees the reason and not a stack.
    [Console]::Error.WriteLine(('0x{0:X8} {1}' -f $_.Exception.HResult, $_.Exception.Message))
    exit 1
}
